"""Source text of C, C++ and Fortran as tokens: comments gone, strings and names apart.

Pure functions of text; they follow ISO C (5.1.1.2, translation phases 1 to 3), ISO C++ [lex] and
ISO Fortran (6.3, source form; free form). Runs inside jobs: standard library only, python3 >= 3.6.
"""

import bisect
import re
from typing import Callable, List, Match, NamedTuple, Tuple

NAME, STRING, NUMBER, SIGN = "name", "string", "number", "sign"
DIRECTIVE, HIDDEN = "directive", "hidden"


class Token(NamedTuple):
    """`text` of a string is what it holds, of a directive the whole logical line without `#`.

    HIDDEN is no token but a trick of spelling, told in words.
    """

    sort: str
    text: str
    line: int


_C = re.compile(
    r"""(?P<comment>//[^\n]*|/\*.*?\*/)
    |(?P<open>/\*)
    |(?P<raw>(?:u8|[uUL])?R"(?P<end>[^()\\\s"]{0,16})\((?P<body>.{0,1000}?)\)(?P=end)")
    |(?P<string>(?:u8|[uUL])?"(?:[^"\\\n]|\\.)*")
    |(?P<char>(?:u8|[uUL])?'(?:[^'\\\n]|\\.)*')
    |(?P<number>\.?[0-9](?:[eEpP][+-]|'?[A-Za-z0-9_]|\.)*)
    |(?P<name>(?:[A-Za-z_$\u0080-\U0010ffff]|\\u[0-9a-fA-F]{4}|\\U[0-9a-fA-F]{8})
              (?:[A-Za-z0-9_$\u0080-\U0010ffff]|\\u[0-9a-fA-F]{4}|\\U[0-9a-fA-F]{8})*)
    |(?P<space>[^\S\n]+)
    |(?P<break>\n)
    |(?P<sign>%:%:|\#\#|%:|::|.)""",
    re.DOTALL | re.VERBOSE,
)
_TRIGRAPH = re.compile(r"\?\?[=/'()!<>-]")
_SPLICE = re.compile(r"\\[^\S\n]*\n")
_WITH_CODE = ("define", "if", "elif")  # directives whose words are tokens as others are
_DIGRAPHS = {"%:": "#", "%:%:": "##"}
# Characters that make an editor show another order or nothing (Unicode TR 36).
_UNSEEN = re.compile("[\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff\0]")
_ESCAPE = re.compile(r"\\(?:x([0-9a-fA-F]+)|([0-7]{1,3})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|(.))")


def tokens(text: str, language: str) -> List[Token]:
    """Of "c", "c++" or "fortran" (free form, where lines for a preprocessor are directives)."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    found = [
        Token(HIDDEN, "a character that is not seen", text.count("\n", 0, match.start()) + 1)
        for match in _UNSEEN.finditer(text)
    ]
    return found + (_fortran(text) if language == "fortran" else _c(text))


def _unspliced(text: str) -> Tuple[str, Callable[[int], int], List[Token]]:
    """Lines that end with a backslash joined, and the line of an offset in the result."""
    pieces, starts, lines, hidden = [], [], [], []
    at, line, length = 0, 1, 0
    for match in [*_SPLICE.finditer(text), None]:
        piece = text[at : match.start() if match else len(text)]
        for part in piece.splitlines(True) or [""]:
            starts.append(length)
            lines.append(line)
            length += len(part)
            line += part.endswith("\n")
        pieces.append(piece)
        if match:
            after = text[match.end() : match.end() + 1]
            if _of_name(piece[-1:]) and _of_name(after):
                hidden.append(Token(HIDDEN, "a name across two lines", line))
            if match.group() != "\\\n":
                hidden.append(Token(HIDDEN, "blanks behind the backslash at a line's end", line))
            line += 1
            at = match.end()
            starts.append(length)
            lines.append(line)
    return "".join(pieces), lambda at: lines[bisect.bisect_right(starts, at) - 1], hidden


def _of_name(letter: str) -> bool:
    return letter.isalnum() or letter == "_"


def _c(text: str) -> List[Token]:
    joined, line_of, found = _unspliced(text)
    fresh, directive = True, ""
    for match in _C.finditer(joined):
        sort, line = str(match.lastgroup), line_of(match.start())
        if sort == "comment" and "??/" in match.group():
            found.append(Token(HIDDEN, "a trigraph", line))
        if sort in ("comment", "space"):
            continue
        found += _tricks(match, sort, line)
        word = _DIGRAPHS.get(match.group(), match.group())
        if sort == "break":
            fresh, directive = True, ""
            continue
        if fresh and word == "#":
            end = joined.find("\n", match.end())
            body = joined[match.end() : end if end >= 0 else len(joined)]
            found.append(Token(DIRECTIVE, _without_comments(body), line))
            directive = (found[-1].text.split() or [""])[0]
        elif directive and directive not in _WITH_CODE:
            continue
        elif sort in ("string", "char", "raw"):
            found.append(Token(STRING, _held(match, sort), line))
        elif sort in ("name", "number", "sign"):
            found.append(Token(SIGN if sort == "sign" else sort, word, line))
        fresh = False
    return found


def _tricks(match: "Match[str]", sort: str, line: int) -> List[Token]:
    words = []
    text = match.group()
    if sort == "open":
        words.append("a comment without an end")
    if sort == "raw":
        words.append("a raw string, which is something else to other dialects")
    if sort == "name" and ("\\" in text or any(letter > "\x7f" for letter in text)):
        words.append("a name of letters that are not ASCII")
    if sort in ("sign", "string") and text in ("%:", "%:%:"):
        words.append("another spelling of #")
    if sort != "break" and sort != "comment" and _TRIGRAPH.search(match.string, *match.span()):
        words.append("a trigraph")
    if sort == "sign" and _TRIGRAPH.match(match.string, match.start()):
        words.append("a trigraph")
    return [Token(HIDDEN, word, line) for word in words]


def _without_comments(text: str) -> str:
    """A directive's words in one line; its strings as they stand there."""
    kept = [" " if m.lastgroup in ("comment", "space") else m.group() for m in _C.finditer(text)]
    return "".join(kept).strip()


def _held(match: "Match[str]", sort: str) -> str:
    if sort == "raw":
        return match.group("body")
    text = match.group()
    return _ESCAPE.sub(_letter, text[text.index(text[-1]) + 1 : -1])


def _letter(match: "Match[str]") -> str:
    wide, octal, short, long, plain = match.groups()
    code = wide or short or long
    number = int(code, 16) if code else (int(octal, 8) if octal else None)
    if number is None:
        return {"n": "\n", "t": "\t", "0": "\0"}.get(plain, plain)
    return chr(number) if number < 0x110000 else "?"


# --- Fortran -------------------------------------------------------------------------------------

_FORTRAN = re.compile(
    r"""(?P<string>'(?:[^'\n]|'')*'|"(?:[^"\n]|"")*")
    |(?P<number>[0-9]+(?:\.[0-9]*)?(?:[eEdDqQ][+-]?[0-9]+)?)
    |(?P<name>[A-Za-z_$\u0080-\U0010ffff][A-Za-z0-9_$\u0080-\U0010ffff]*)
    |(?P<space>[^\S\n]+)
    |(?P<break>[\n;])
    |(?P<sign>.)""",
    re.DOTALL | re.VERBOSE,
)
_SENTINEL = re.compile(r"([ \t]*)!\$(?=[ \t&])")  # such lines are read where OpenMP is on
_COMPILER = re.compile(r"[ \t]*!((?:gcc|dir|dec|ibm|pgi|nvf)\$.*)", re.IGNORECASE)


def _fortran(text: str) -> List[Token]:
    found = []  # type: List[Token]
    logical, first, quote, pending = "", 0, "", False
    for number, line in enumerate(text.split("\n"), 1):
        directive = re.match(r"[ \t]*#(.*)", line) or _COMPILER.match(line)
        if directive and not quote:
            found.append(Token(DIRECTIVE, directive.group(1).strip(), number))
            if directive.group(1).split()[:1] == ["define"]:
                found += _fortran_tokens(directive.group(1), number)
            continue
        line, quote = _cut(_SENTINEL.sub(r"\1  ", line, 1), quote)
        if pending and not line.strip():
            continue
        first = first or number
        goes_on = line.rstrip().endswith("&")
        if logical and line.lstrip().startswith("&"):
            line = line.lstrip()[1:]
            if logical[-1:].isalnum() and line[:1].isalnum() and not quote:
                found.append(Token(HIDDEN, "a name across two lines", number))
        logical += line.rstrip()[:-1] if goes_on else line
        pending = goes_on
        if not goes_on:
            found += _fortran_tokens(logical, first)
            logical, first, quote = "", 0, ""
    return found + _fortran_tokens(logical, first)


def _cut(line: str, quote: str) -> Tuple[str, str]:
    """The line without its comment, and the quote of a text that is not closed in it."""
    for at, letter in enumerate(line):
        if quote:
            quote = "" if letter == quote else quote
        elif letter in "'\"":
            quote = letter
        elif letter == "!":
            return line[:at], ""
    return line, quote


def _fortran_tokens(line: str, number: int) -> List[Token]:
    found = []
    for match in _FORTRAN.finditer(line):
        sort, text = str(match.lastgroup), match.group()
        if sort == "string":
            found.append(Token(STRING, text[1:-1].replace(text[0] * 2, text[0]), number))
        elif sort == "break":
            found.append(Token(SIGN, "\n", number))
        elif sort != "space":
            found.append(Token(sort, text.lower() if sort == "name" else text, number))
    if found:
        found.append(Token(SIGN, "\n", number))
    return found
