"""Texts that a spreadsheet would change when it opens a CSV file, and how to keep it from doing so.

Excel and LibreOffice evaluate formulas and turn what looks like a number, an amount, a date, a time or a truth value
into one, each in the language of its user: `12-Okt` is a date in German, `VRAI` is true in French. Which these are was
measured with LibreOffice in nine languages. Too many apostrophes do no harm; one too few changes a name.
"""

import re

EXCEL_MARK = "\ufeff"
"""First character of an Excel CSV: tells Excel, and us, that the file is UTF-8 with neutralised texts."""

# What is evaluated, or (the apostrophe itself) not given back.
_EVALUATED = tuple("=+-@\t\r\n'")

_TRUTH = (
    "true|false|wahr|falsch|vrai|faux|verdadero|falso|vero|verdadeiro|waar|onwaar|prawda|fałsz|sant|falskt|sand|falsk"
    "|sann|usann|tosi|epätosi|pravda|nepravda|igaz|hamis|adevărat|fals"
)
# The first three letters of the months' names in Czech, Danish, Dutch, English, Finnish, French, German, Hungarian,
# Italian, Norwegian, Polish, Portuguese, Romanian, Spanish and Swedish.
_MONTHS = (
    "jan|jän|jen|ene|gen|sty|led|tam|ian|feb|fév|fev|lut|úno|hel|mar|mär|mrt|maa|már|bře|apr|avr|abr|ápr|kwi|dub|huh"
    "|may|mai|mag|mei|maj|máj|kvě|tou|jun|jui|jún|giu|cze|čer|čvn|čvc|kes|iun|jul|júl|lug|lip|hei|iul|aug|aoû|aou|ago|sie"
    "|srp|elo|sep|set|sze|wrz|zář|syy|oct|okt|out|ott|paź|říj|lok|nov|noi|lis|dec|déc|dez|dic|des|gru|pro|jou"
)
_CURRENCY = r"[$€£¥₽]|eur|usd|gbp|chf|sek|nok|dkk|pln|czk|huf|ron|fr\.?|kr\.?|zł|kč|ft|lei"
_NUMBER = r"[.,:/%\s+()'\u2019-]*+\d[\d.,:/%\s+()'\u2019-]*"
_WEEKDAY = r"([^\W\d_]{2,14}[.,]*\s+)?"
_CONVERTED = re.compile(
    rf"\s*({_TRUTH}|#[^\W\d_][^\s]*"  # the latter: error values such as #N/A
    rf"|([\s(-]*+({_CURRENCY})[\s(-]*)?{_NUMBER}(e[+-]?\d+)?(\s*({_CURRENCY})\s*\)?|(\s+|(?<=:\d\d))[ap]\.?(m\.?)?)?"
    r"|\d+-\d+-\d+t[\d:.,]+z?"
    rf"|{_WEEKDAY}\d+[./-]\d+[./-]\d*"
    rf"|(?=.*\d){_WEEKDAY}(\d+[-/.,\s]*)?(de\s+|d')?({_MONTHS})[^\W\d_]*[-/.,\s]*(de\s+)?[\d/.,\s-]*)\s*",
    re.IGNORECASE,
)


def neutralised(text: str) -> str:
    """`text` with an apostrophe before it if a spreadsheet would evaluate or convert it (OWASP, CSV injection)."""
    return f"'{text}" if text.startswith(_EVALUATED) or _CONVERTED.fullmatch(text) else text


def restored(text: str) -> str:
    """The text that `neutralised` was given."""
    rest = text[1:]
    return rest if text.startswith("'") and neutralised(rest) == text else text
