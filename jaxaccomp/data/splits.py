"""A user's own division of songs into splits: a table of files and where each goes."""

import csv
from collections.abc import Sequence
from pathlib import Path

from jaxaccomp.data.shards import SPLITS
from jaxaccomp.errors import DatasetError

COLUMNS = ("path", "split")


def read(file: Path, names: Sequence[str]) -> dict[str, str]:
    """The split of each file that the table lists and the folder holds.

    Args:
        file: a CSV file whose header has `path`, relative to the folder of MIDI files, and `split`, one of train,
            validation and test; other columns are ignored, and so are files that the folder does not hold.
        names: files of the folder.

    Raises:
        DatasetError: the table cannot be read, a column is missing, a split has another name, a file is listed with
            two splits, or none of the listed files is there.
    """
    listed: dict[str, str] = {}
    try:
        with file.open(newline="", encoding="utf-8-sig") as lines:
            table = csv.DictReader(lines)
            lacking = [column for column in COLUMNS if column not in (table.fieldnames or ())]
            if lacking:
                raise DatasetError(
                    f"{file}: the header has no column {' and '.join(lacking)}; expected path and split among them, "
                    f"got {', '.join(table.fieldnames or ()) or 'an empty file'}"
                )
            for row in table:
                path, split = row["path"] or "", row["split"]
                if split not in SPLITS:
                    raise DatasetError(
                        f"{file}, line {table.line_num}: expected split train, validation or test, got {split!r}"
                    )
                if listed.setdefault(path, split) != split:
                    raise DatasetError(
                        f"{file}, line {table.line_num}: {path} is listed as {split} and as {listed[path]}; keep one"
                    )
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DatasetError(f"{file}: not readable as a CSV table ({error})") from error
    found = {name: listed[name] for name in names if name in listed}
    if not found:
        example = next(iter(listed), "nothing")
        raise DatasetError(
            f"{file}: none of its {len(listed):,} files is in the folder; paths must be relative to the folder of MIDI "
            f"files, got e.g. {example}"
        )
    return found
