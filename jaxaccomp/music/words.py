"""What the name of a track says it plays, in the languages that MIDI files are named in.

`kind_of_name("Snare 2")` is "drums", of "E-Bass" it is "bass"; `promises_melody` and `denies_melody` tell of the tune.
"""

import re
import unicodedata
from functools import lru_cache

_MELODY = re.compile(
    r"melod|lead|vocal|vocals|vox|voice|voz|solo|canto|sing|tune|theme|chant|gesang|stimme|m[eé]lodie"
    r"|\bvoc\b|refrain|cantante|\bsang\b|\bgłos|śpiew|ének|laulu|主旋律|旋律|主奏|主音(?!吉他|ギター)|唱|人声|人聲"
    r"|メロ|主旋|歌|ボーカル|ヴォーカル|うた|ﾒﾛ|ﾎﾞｰｶﾙ|멜로디|노래|보컬|가락|선율|мелод|голос|вокал|соло|песн|солист",
    re.IGNORECASE,
)
_NO_MELODY = re.compile(
    r"bass|drum|perc|pad|string|chord|rh?ythm|accomp|back|harmon(?!ica)|choir|left|2nd|second"
    r"|begleit|akkord|acorde|伴奏|和弦|和声|和聲|背景|鼓|贝斯|貝斯|低音|弦乐|弦樂|伴唱|コード|ハモ|バッキング|ベース|ドラム"
    r"|ストリングス|コーラス|ﾍﾞｰｽ|ﾄﾞﾗﾑ|반주|코드|베이스|드럼|코러스|аккомп|аккорд|бас|ударн|барабан|бэк|хор\b|подголос",
    re.IGNORECASE,
)
_DRUMS = re.compile(
    r"(?<![a-z])(?:drums?|drumset|drumkit|snares?|percs?|percussions?|percusi[oó]n|percuss[aã]o|percussioni"
    r"|cymbals?|hi-?hats?|bongos?|congas?|tambou?rine?|cow ?bell|maracas?|cabasa|shakers?|timbales?|claves|guiro"
    r"|kick ?drum|bass ?drum|bateria|bater[ií]a|batterie|batteria|schlagzeug|schlagzg|slagwerk|trommeln?|tromme"
    r"|perkusja|perkuse|bębny|slagverk|trummor|rummut|bubny|dobok|davul|hand ?claps?|rim ?shots?|side ?stick)(?![a-z])"
    r"|ударн|барабан|перкусс|тарелк|драм|ドラム|ﾄﾞﾗﾑ|打楽器|太鼓|パーカッション|ﾊﾟｰｶ|スネア|シンバル|ハイハット"
    r"|鼓|打击乐|打擊樂|镲|드럼|드럼스|타악|북소리|퍼커션|스네어|심벌",
    re.IGNORECASE,
)
_NO_DRUMS = re.compile(
    r"steel|pan\b|drum ?(?:&|and|n) ?bass|melod|lead|hang ?drum|tongue|dulcimer|sitar|鼓笛", re.IGNORECASE
)
_ONE_DRUM = re.compile(
    r"(?:(?:closed?|open|pedal|foot|half|hi|high|low|mid|middle|floor|ride|crash|china|splash|cym|cymbal|tom|toms|hat|hats"
    r"|hh|kick|kicks|snare|bass|bd|sd|drum|side|stick|sticks|rim|shot|clap|claps|hand|left|right|l|r|tr|gm|gs|xg|fx|top"
    r"|bell|cup|bottom|808|909|707|electric|electronic|acoustic|ac|el|rock|jazz|brush|power|room|loop|triangle|block"
    r"|wood|woodblock|kit|set|track|no|nr|\d+)(?:[\s.,:;#_/&+()'-]+|$))+",
    re.IGNORECASE,
)
_HITS = re.compile(
    r"(?<![a-z])(?:tom|toms|hat|hats|hh|kick|kicks|snare|clap|claps|crash|ride|cymbal|cym|splash|bd|sd|triangle"
    r"|woodblock|rim ?shot|side ?stick|sticks?)(?![a-z])",
    re.IGNORECASE,
)
_BASS = re.compile(
    r"(?<![a-z])(?:e|a|el|ac|synth|syn|slap|fingered|picked|fretless|upright|sub|contra|kontra|double)?[ .-]?"
    r"(?:bass(?:es|line|gitarre|guitar|gtr|o|i)?|basse|basgitaar|basgitarr|bajo|baixo|basgitara|bassgtr|kontrabas"
    r"|contrabajo|contrebasse|contrabbasso)(?![a-z])"
    r"|(?<![а-яё])(?:бас(?:ы|а|овая|-?гитара)?|контрабас)(?![а-яё])|ベース(?!ドラム)|ﾍﾞｰｽ|コントラバス|贝斯|貝斯|贝司|貝司|低音吉他|低音结他"
    r"|倍大提琴|低音提琴|베이스(?!드럼|\s*드럼)|콘트라베이스",
    re.IGNORECASE,
)
_NO_BASS = re.compile(
    r"clarinet|klarinette|flute|flöte|trombone|posaune|sax|recorder|oboe|horn|marimba|voice|vocal|vox|choir|singer|chor"
    r"|gesang|stimme|clef|staff|schlüssel|piano|klavier|accord|organ|orgel|trumpet|harmonica|kalimba|lead|melod|solo",
    re.IGNORECASE,
)
_CONTINUES = re.compile(
    r"\b(?:cont|contd|cont'd|continued|forts|fortsetzung|suite|verses?|chorus|refrain|bridge|intro|outro|coda|ending"
    r"|part|pt|strophe|estrofa|estribillo|coro|a|b|c|i|ii|iii|iv|one|two|three)\b|[#\d.,:;()\[\]_/&+'-]+|続き|サビ|[ab]メロ"
    r"|主歌|副歌|续|續|куплет|припев|절|후렴",
    re.IGNORECASE,
)


def normal(name: str) -> str:
    """A name as it is compared: compatibility forms (full width, half width) unified, letter case folded."""
    return unicodedata.normalize("NFKC", name).casefold().strip()


@lru_cache(maxsize=4096)
def kind_of_name(name: str) -> str:
    """`drums`, `bass`, or nothing, if the name says neither."""
    name = unicodedata.normalize("NFKC", name).replace("_", " ").strip()
    if not name:
        return ""
    is_drums = _DRUMS.search(name) or (_HITS.search(name) and _ONE_DRUM.fullmatch(name))
    if is_drums and not _NO_DRUMS.search(name):
        return "drums"
    if _BASS.search(name) and not _NO_BASS.search(name):
        return "bass"
    return ""


@lru_cache(maxsize=4096)
def promises_melody(name: str) -> bool:
    """Whether the name says that this is the tune, and nothing against it."""
    return bool(_MELODY.search(name)) and not denies_melody(name)


@lru_cache(maxsize=4096)
def denies_melody(name: str) -> bool:
    """Whether the name says that this accompanies."""
    return bool(_NO_MELODY.search(name))


@lru_cache(maxsize=4096)
def stem(name: str) -> str:
    """A name without numbers, parts of a song and "continued": `Vocals 2` and `Vocals (chorus)` agree."""
    return " ".join(_CONTINUES.sub(" ", normal(name)).split())
