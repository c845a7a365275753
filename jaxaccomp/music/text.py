"""Text inside a MIDI file, of which the file does not say the encoding.

The encoding is guessed once for a file, from all of its text together: short names alone do not tell Chinese from
Korean. Every encoding in question is tried, and the one in which the text looks most like writing is taken.
"""

import unicodedata
from collections.abc import Iterable
from functools import lru_cache

_PADDING = "\x00 \t\r\n"
_ENCODINGS = ("cp932", "gbk", "cp949", "big5", "euc_jp", "cp1251", "koi8-r", "cp866", "cp1252", "cp1250", "cp1253")
"""In order of preference where two do equally well."""

# A character's cost is about how many bits it is worth in running text; those of these lists are the most frequent.
_CHINESE = (
    "的一是不了在人有我他这中大来上个国到说们为子和你地出道也时年得就那要下以生会自着去之过家学对可她里后小么心多天而能好都然"
    "没日于起还发成事只作当想看文无开手十用主行方又如前所本见经头面公同三已老从动两长知民样现分将外但身些与高意进把法此实回二"
    "理美点月明其种声全工己话儿者向情部正名定女问力机给等几很业最间新什打便位因重被走电四第门相次东政海口使教西再平真听世气信"
    "北少关并内加化由却代军产入先山五太水万市爱风花雪夜星雨春梦红歌曲音乐唱這來個國到說們為時會著過學對裡後麼沒於還發當無開見"
    "經頭從動兩長樣現將與進實點聲話兒問機給業間電門東聽氣關並產萬愛風夢紅樂鋼貝"
)
_JAPANESE = (
    "日一国会人年大十二本中長出三同時政事自行社見月分議後前民生連五発間対上部東者党地合市業内相方四定今回新場金員九入選立開手米力学問高代"
    "明実円関決子動京全目表戦経通外最言氏現理調体化田当八六約主題下首意法音楽歌曲春夏秋冬愛空夢恋涙花風雪夜星海君夕焼雨思桜町道旅旋律"
    "伴奏主低弦木管弓打声和"
)
_MUSIC = [
    "主旋律",
    "旋律",
    "主奏",
    "副旋律",
    "伴奏",
    "和弦",
    "和声",
    "和聲",
    "贝斯",
    "貝斯",
    "贝司",
    "鼓",
    "鼓组",
    "爵士鼓",
    "吉他",
    "吉它",
    "木吉他",
    "电吉他",
    "电吉它",
    "钢琴",
    "鋼琴",
    "弦乐",
    "弦樂",
    "人声",
    "人聲",
    "小提琴",
    "大提琴",
    "中提琴",
    "长笛",
    "笛子",
    "二胡",
    "古筝",
    "琵琶",
    "扬琴",
    "箫",
    "电钢琴",
    "主音",
    "节奏",
    "打击乐",
    "低音",
    "歌曲",
    "作曲",
    "编曲",
    "作词",
    "演唱",
    "制作",
    "音乐",
    "小号",
    "长号",
    "单簧管",
    "双簧管",
    "竖琴",
    "合唱",
    "独奏",
    "风琴",
    "前奏",
    "间奏",
    "结束",
    "副歌",
    "主歌",
    "曲谱",
    "歌手",
    "版权",
    "メロディ",
    "メロディー",
    "ドラム",
    "ドラムス",
    "ベース",
    "ギター",
    "ピアノ",
    "ストリングス",
    "コーラス",
    "ボーカル",
    "ブラス",
    "オルガン",
    "フルート",
    "シンセ",
    "バイオリン",
    "トランペット",
    "サックス",
    "パーカッション",
    "リード",
    "コード",
    "バッキング",
    "作詞",
    "作曲",
    "編曲",
    "歌",
    "主旋律メロディ",
    "멜로디",
    "베이스",
    "드럼",
    "기타",
    "피아노",
    "보컬",
    "노래",
    "반주",
    "스트링",
    "코러스",
    "현악기",
    "가수",
    "작곡",
    "작사",
    "편곡",
    "제목",
    "오르간",
    "바이올린",
    "플루트",
    "통기타",
    "리드",
    "트럼펫",
    "мелодия",
    "бас",
    "ударные",
    "барабаны",
    "гитара",
    "вокал",
    "голос",
    "соло",
    "ритм",
    "скрипка",
    "пианино",
    "фортепиано",
    "рояль",
    "клавиши",
    "аккорды",
    "хор",
    "труба",
    "флейта",
]
_MUSIC_CHARACTERS = "琴笛鼓号琵琶弦管吉他贝斯铃钟锣钹镲提胡筝箫声编调节奏键盘拨铜木簧竖"
_KOREAN = (
    "이다는에의하고을가지로기사한도를리자인나일대어그시아정보스과해서부장원제수구상주전으동여조거들안해적비은게라만드신소우유오와저마경있위문"
    "국공무성선미관미중세모내행연화회치실당산단년물심면학계래요영네야너노사랑음악곡피트통키현베멜디럼타반코러클"
)
_EASTERN = {"cp932": "japanese", "euc_jp": "japanese", "gbk": "chinese", "big5": "chinese", "cp949": "korean"}
_COMMON = {"japanese": set(_JAPANESE), "chinese": set(_CHINESE + _MUSIC_CHARACTERS), "korean": set(_KOREAN)}
_SCRIPTS = {name: range(0x400, 0x460) for name in ("cp1251", "koi8-r", "cp866")} | {"cp1253": range(0x370, 0x400)}
_FAILED = float("inf")


def encoding_of(texts: Iterable[bytes]) -> str:
    """The encoding in which all these texts of one file look most like writing."""
    told = sorted({text for text in texts if not text.isascii() and not _is_surely_utf8(text)})
    if not told:
        return "utf-8"
    return _guess(tuple(told[:200]))


def decode(payload: bytes, encoding: str = "utf-8") -> str:
    """The text of a meta event, without padding.

    Args:
        payload: what the event carries.
        encoding: of the file, see `encoding_of`; where it does not fit this text, the text is guessed by itself.
    """
    if payload.isascii():  # which all these encodings read alike
        return payload.decode("ascii").strip(_PADDING)
    if payload[:2] in (b"\xff\xfe", b"\xfe\xff"):
        encoding = "utf-16"
    elif payload[:3] == b"\xef\xbb\xbf":
        encoding = "utf-8-sig"
    elif _is_surely_utf8(payload):
        encoding = "utf-8"
    for attempt in (encoding, "utf-8"):
        try:
            return payload.decode(attempt).strip(_PADDING)
        except UnicodeDecodeError:
            continue
    return payload.decode(_guess((payload,)), "replace").strip(_PADDING)


@lru_cache(maxsize=256)
def _guess(texts: tuple[bytes, ...]) -> str:
    if all(_fits(text, "utf-8") for text in texts):
        return "utf-8"
    costs = {encoding: sum(_cost(text, encoding) for text in texts) for encoding in _ENCODINGS}
    best = min(_ENCODINGS, key=lambda encoding: costs[encoding])
    return best if costs[best] < _FAILED else "latin-1"


def _is_surely_utf8(text: bytes) -> bool:
    """Whether this is UTF-8 with characters of three bytes; two may come about by chance."""
    return any(byte >= 0xE0 for byte in text) and _fits(text, "utf-8")


def _fits(text: bytes, encoding: str) -> bool:
    try:
        text.decode(encoding)
    except UnicodeDecodeError:
        return False
    return True


def _cost(payload: bytes, encoding: str) -> float:
    """Bits that a text is worth under an encoding; more if it looks like nothing."""
    try:
        text = payload.decode(encoding).strip(_PADDING)
    except UnicodeDecodeError:
        return 24.0 * len(payload) if len(payload) > 24 else _FAILED  # text that was cut off within a character
    language, total, before = _EASTERN.get(encoding, "european"), 0.0, " "
    for place, character in enumerate(text):
        total += _bits(character, before, text[place + 1 : place + 2] or " ", language, encoding)
        before = character
    if language != "european" or encoding in ("cp1251", "koi8-r", "cp866"):
        lowered = unicodedata.normalize("NFKC", text).casefold()
        total -= 14.0 * any(word in lowered for word in _MUSIC if not word.isascii())
    return total


def _bits(character: str, before: str, after: str, language: str, encoding: str) -> float:
    code = ord(character)
    if code < 0x80:
        return 5.0 if character.isprintable() else 12.0
    category = unicodedata.category(character)
    if category[0] not in "LNPS" or (category == "Lo" and 0xE000 <= code < 0xF900):
        return 24.0
    if language == "european":
        return _european_bits(character, before, after, encoding)
    if 0x3040 <= code < 0x3100:
        return 8.0 if language == "japanese" else 15.0
    if 0xFF61 <= code < 0xFFA0:
        return 9.0 if any(0xFF61 <= ord(other) < 0xFFA0 for other in (before, after)) else 15.0
    if 0xAC00 <= code < 0xD7A4:
        if character in _COMMON["korean"]:
            return 9.0
        return 11.5 if _fits_in(character, "euc_kr") else 24.0
    if 0x4E00 <= code < 0xA000:
        if character in _COMMON.get(language, ()):
            return 8.5 if language != "korean" else 20.0
        if language == "korean":
            return 20.0
        return 11.5 if _is_usual(character, encoding) else 18.0
    if 0xFF00 <= code < 0xFFF0 or 0x3000 <= code < 0x3040 or category[0] in "PS":
        return 13.0
    return 18.0


def _european_bits(character: str, before: str, after: str, encoding: str) -> float:
    code = ord(character)
    script = _SCRIPTS.get(encoding)
    if script and code in script:
        if any(other.isascii() and other.isalpha() for other in (before, after)):
            return 16.0  # no word is half Latin and half Cyrillic or Greek
        if ord(before) not in script and ord(after) not in script:
            return 13.0
        if ord(before) in script and before.islower() and character.isupper():
            return 12.0  # letter case upside down: another Cyrillic encoding
        return {"cp1251": 6.0, "koi8-r": 6.2, "cp866": 6.5}.get(encoding, 7.0) + (0.5 if character.isupper() else 0.0)
    if character.isalpha():
        alone = not (before.isalpha() or before in " -'(.")
        price = 8.0 if encoding == "cp1252" else 11.0
        return price + (7.0 if alone else 0.0) + (2.0 if character.isupper() and before.islower() else 0.0)
    return 12.0 if character in "©®°´·’‘“”–—«»•™§¡¿" else 15.0


def _is_usual(character: str, encoding: str) -> bool:
    """Whether a Chinese character is of the first, everyday level of its national standard."""
    if encoding in ("cp932", "euc_jp"):
        code = _encoded(character, "euc_jp")
        return len(code) == 2 and 0xB0 <= code[0] < 0xD0
    if encoding == "gbk":
        code = _encoded(character, "gb2312")
        return len(code) == 2 and code[0] < 0xD8
    code = _encoded(character, "big5")
    return len(code) == 2 and code[0] < 0xC7


def _fits_in(character: str, encoding: str) -> bool:
    return bool(_encoded(character, encoding))


def _encoded(character: str, encoding: str) -> bytes:
    try:
        return character.encode(encoding)
    except UnicodeEncodeError:
        return b""
