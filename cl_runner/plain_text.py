"""What somebody else wrote, as text that does nothing where it is shown: in a terminal, a page, a table, a command."""

import re
import shlex
import zlib

# Of a file's name; the name has more parts.
_LONGEST_NAME = 60


def printable(text: str) -> str:
    """`text` in one line, with an escape such as `\\x1b` for each character that cannot be seen.

    Some of these tell a terminal what to do, or let text run backwards, or are none that a file can hold.
    """
    return text if text.isprintable() else "".join(map(_visible, text))


def in_a_shell(text: str) -> str:
    """`text` as a word of a command line, each character of which can be seen: in quotes where need be."""
    if text.isprintable():
        return shlex.quote(text)
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"$'{printable(escaped)}'"


def cell(text: str) -> str:
    """`text` as a field of a CSV file, which a spreadsheet would compute if it began like a formula."""
    return f"'{printable(text)}" if re.match(r"\s*[=+@-]", text) and not _is_number(text) else printable(text)


def slug(text: str) -> str:
    """`text` as a part of a file's name, and no other text's: with a checksum where letters had to be replaced."""
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", text)[:_LONGEST_NAME]
    return plain if plain == text else f"{plain}-{zlib.crc32(text.encode(errors='surrogatepass')):08x}"


def _visible(letter: str) -> str:
    return letter if letter.isprintable() else letter.encode("unicode_escape").decode()


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
