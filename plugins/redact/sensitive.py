"""Where e-mail addresses, phone numbers and payment card numbers stand in a text.

Finds what is written plainly, by its form. Each search takes linear time on any input: its patterns are anchored,
begin only where a run of their characters does, or are bounded. Knows nothing of chats.
"""

import re

SPACE = " \u00a0\u2009\u202f"  # plain, no-break, thin, narrow no-break
DASH = "\u2010-\u2015-"

EMAIL_LOCAL_REVERSED = re.compile(r"[\w.%+'-]+")
EMAIL_LOCAL_CHARACTERS = 64  # RFC 5321, 4.5.3.1.1
EMAIL_DOMAIN = re.compile(r"(?:[\w-]+\.)+[^\W\d_]{2,}")

# Every number that is found lies in a run of these.
RUN = re.compile(rf"[+(0-9][0-9{SPACE}{DASH}./()]{{6,}}")
GROUP = re.compile("[0-9]+")
CARD_CANDIDATE = re.compile(rf"(?<![0-9])[0-9](?:[{SPACE}{DASH}]?[0-9]){{12,}}")
CARD_DIGITS = range(13, 20)
PHONE_DIGITS = range(8, 16)  # E.164 has at most 15; fewer than 8 are too many other things
PHONE = re.compile(
    rf"""
    # +49 30 1234567, 0049 30 1234567
    (?<![\w+]) (?: \+ | (?<![.,{DASH}]) 00 ) [1-9] (?: [{SPACE}{DASH}./()]{{0,3}} [0-9] ){{7,14}} (?![0-9])
    | (?<![\w.,:/+{DASH}]) (?:
        # (030) 1234567, 020 7946 0958
        \(? 0[1-9][0-9]{{1,4}} \)? [{SPACE}{DASH}/]{{1,3}} [0-9]{{3,8}} (?: [{SPACE}{DASH}]? [0-9]{{2,5}} ){{0,3}}
        # 01 23 45 67 89
        | 0[1-9] ([{SPACE}{DASH}.]) [0-9]{{2}} (?: \1 [0-9]{{2}} ){{3}}
        # 01711234567
        | 0[1-9][0-9]{{8,10}}
        # (415) 555-2671, 1-415-555-2671
        | (?: 1[{SPACE}{DASH}.] )? (?: \([2-9][0-9]{{2}}\)[{SPACE}]? | [2-9][0-9]{{2}}[{SPACE}{DASH}.] )
          [2-9][0-9]{{2}} [{SPACE}{DASH}.] [0-9]{{4}}
    ) (?!\w)
    """,
    re.VERBOSE,
)


def emails(text):
    """Yields (start, end), in order."""
    at, after = text.find("@"), 0
    while at >= 0:
        domain = EMAIL_DOMAIN.match(text, at + 1)
        before = text[max(after, at - EMAIL_LOCAL_CHARACTERS) : at]
        local = domain and EMAIL_LOCAL_REVERSED.match(before[::-1])
        if local:
            after = domain.end()
            yield at - local.end(), after
        at = text.find("@", max(at + 1, after))


def numbers(text, card=True, phone=True):
    """Yields (start, end) of card and phone numbers, in order."""
    for run in RUN.finditer(text):
        start, end = run.span()
        for found in cards(text, start, end) if card else ():
            if phone:
                yield from phones(text, start, found[0])
            yield found
            start = found[1]
        if phone:
            yield from phones(text, start, end + 1)  # one more, for what a number must not be followed by


def phones(text, start, end):
    for match in PHONE.finditer(text, start, end):
        if sum(character in "0123456789" for character in match[0]) in PHONE_DIGITS:
            yield match.span()


def cards(text, start, end):
    """Digits around a card number (a year before, a check code behind) must not hide it: every window of whole groups
    is tried, the longest first."""
    for candidate in CARD_CANDIDATE.finditer(text, start, end):
        groups = [group.span() for group in GROUP.finditer(text, *candidate.span())]
        first = 0
        while first < len(groups):
            last = card_from(text, groups, first)
            if last is not None:
                yield groups[first][0], groups[last][1]
            first = first + 1 if last is None else last + 1


def card_from(text, groups, first):
    """The last group of the longest card number that begins with group `first`, if one does."""
    digits, found = "", None
    for index in range(first, len(groups)):
        start, end = groups[index]
        if len(digits) + end - start >= CARD_DIGITS.stop:
            break
        digits += text[start:end]
        if is_card(digits):
            found = index
    return found


def is_card(digits):
    """A number some card scheme could have issued, with the right check digit (ISO/IEC 7812-1, Luhn)."""
    if len(digits) not in CARD_DIGITS or digits[0] not in "23456":
        return False
    odd, even = digits[-1::-2], digits[-2::-2]
    return (sum(map(int, odd)) + sum(sum(divmod(2 * int(digit), 10)) for digit in even)) % 10 == 0
