"""What laboratories, analysers and public data sets call cells, and which of the known cells they mean.

English, German, French, Spanish, Italian and Portuguese names, and the codes of PBC, the Munich set, Raabin, LISC and
common analysers. A name may be written with capitals, accents, hyphens, a number before it (`1_Segmented Neutrophil`)
or an s after it.
"""

import difflib
import re
import unicodedata
from dataclasses import dataclass
from functools import cache

from bloodcell_batch.cell_classes import Role


@dataclass(frozen=True, slots=True)
class KnownCell:
    """A kind of cell that people name: its canonical name, its role,"
    "what it is a kind of, and its other names."""

    name: str
    role: Role
    parent: str | None
    others: str

    @property
    def synonyms(self) -> tuple[str, ...]:
        """The other names, one each."""
        return tuple(name.strip() for name in self.others.split(","))


_WBC = Role.LEUKOCYTE
KNOWN_CELLS: tuple[KnownCell, ...] = (
    KnownCell(
        "neutrophil",
        _WBC,
        None,
        "neu, ne, neut, neutro, neutrophil granulocyte, neutrophile, neutrophiler, neutrophile granulozyten,"
        "polynucleaire neutrophile, pnn, neutrofilo, neutrofilos, neutrofili,"
        "granulocito neutrofilo, granulocyte, poly",
    ),
    KnownCell(
        "segmented_neutrophil",
        _WBC,
        "neutrophil",
        "sne, seg, segs, ngs, sn, segmented,"
        "segmented neutrophil, neutrophil segmented, neutrophil granulocyte segmented,"
        "segmentkernige, segmentkerniger, segmentierte, segmentkernige neutrophile,"
        "neutrophile segmente, segmentado,"
        "neutrofilo segmentado, segmentados, neutrofilo segmentato, segmentati",
    ),
    KnownCell(
        "band_neutrophil",
        _WBC,
        "neutrophil",
        "bne, band, bands, ngb, stab, stabs, band cell, band neutrophil, neutrophil band, band form,"
        "neutrophil granulocyte band, stabkernige, stabkerniger, stabkernige neutrophile,"
        "cayado, neutrofilo en banda,"
        "banda, bastao, bastonete, bastonetes, neutrofilo bastonete, neutrofilo a banda, non segmente",
    ),
    KnownCell(
        "lymphocyte",
        _WBC,
        None,
        "ly, lym, lymp, lymph, lyt, lymphozyt, lymphozyten,"
        "linfocito, linfocitos, linfociti, lymphocyte typical,"
        "typical lymphocyte, small lymphocyte, large lymphocyte, small lymph, large lymph, lymphocyte normal",
    ),
    KnownCell(
        "atypical_lymphocyte",
        _WBC,
        "lymphocyte",
        "lya, variant lymphocyte, reactive lymphocyte, lymphocyte atypical,"
        "atypische lymphozyten, reaktive lymphozyten,"
        "reizform, lymphocyte hyperbasophile, linfocito atipico, linfocitos atipicos,"
        "linfocito reactivo, virocyte",
    ),
    KnownCell("monocyte", _WBC, None, "mo, mon, mono, monozyt, monozyten, monocito, monocitos, monociti"),
    KnownCell(
        "eosinophil",
        _WBC,
        None,
        "eo, eos, eosi, eosino, eosinophil granulocyte, eosinophile, eosinophiler, eosinophile granulozyten,"
        "polynucleaire eosinophile, pne, eosinofilo, eosinofilos, eosinofili, granulocito eosinofilo",
    ),
    KnownCell(
        "basophil",
        _WBC,
        None,
        "ba, bas, baso, basophil granulocyte, basophile,"
        "basophiler, basophile granulozyten, polynucleaire basophile,"
        "pnb, basofilo, basofilos, basofili, granulocito basofilo",
    ),
    KnownCell(
        "ig",
        _WBC,
        None,
        "immature granulocyte, immature granulocytes,"
        "immature granulocytes promyelocytes myelocytes and metamyelocytes,"
        "unreife granulozyten, granulocyte immature, granuleux immature,"
        "granulocito inmaduro, granulocitos inmaduros,"
        "granulocito immaturo, granulociti immaturi, granulocito imaturo, granulocitos imaturos",
    ),
    KnownCell(
        "promyelocyte",
        _WBC,
        "ig",
        "pmy, pmo, pmb, promyelozyt, promyelozyten, promielocito, promielocitos, promielociti",
    ),
    KnownCell("myelocyte", _WBC, "ig", "my, myb, myelozyt, myelozyten, mielocito, mielocitos, mielociti"),
    KnownCell(
        "metamyelocyte",
        _WBC,
        "ig",
        "mmy, mmz, metamyelozyt, metamyelozyten, metamielocito, metamielocitos, metamielociti, jugendliche",
    ),
    KnownCell(
        "blast",
        _WBC,
        None,
        "blasts, blast cell, myeloblast, myo, monoblast, mob, lymphoblast,"
        "blasten, myeloblasten, blaste, blastes,"
        "blasto, blastos, blasti, mieloblasto",
    ),
    KnownCell(
        "plasma_cell",
        _WBC,
        None,
        "plasma cell, plasmacyte, plasmazelle, plasmazellen, plasmocyte,celula plasmatica, plasmocito, plasmacellula",
    ),
    KnownCell(
        "erythroblast",
        Role.NRBC,
        None,
        "nrbc, nrbcs, ebo, erb, eb, ery,"
        "normoblast, nucleated red cell, nucleated red blood cell, nucleated rbc,"
        "erythroblasten, normoblasten, kernhaltige erythrozyten, erythroblaste,"
        "eritroblasto, eritroblastos, eritroblasti,"
        "normoblasto",
    ),
    KnownCell(
        "platelet",
        Role.PLATELET,
        None,
        "plt, plts, platelets, thrombocyte, thrombozyt, thrombozyten,"
        "plaquette, plaquettes, plaqueta, plaquetas,"
        "piastrina, piastrine, giant platelet",
    ),
    KnownCell(
        "smudge_cell",
        Role.OUTSIDE,
        None,
        "ksc, smudge, smudge cell, basket cell, gumprecht,"
        "gumprechtscher kernschatten, kernschatten, ombre de gumprecht,"
        "sombra de gumprecht, ombra di gumprecht, smu",
    ),
    KnownCell(
        "artefact",
        Role.OUTSIDE,
        None,
        "artifact, artefakt, artefakte, artefacto, artefato, artefatto, art, not a cell,debris, no cell, junk, stain",
    ),
    KnownCell(
        "red_cell",
        Role.OUTSIDE,
        None,
        "rbc, rbcs, red blood cell, erythrocyte, erythrozyt, erythrozyten,"
        "hematie, hematies, eritrocito, eritrocitos,"
        "globulo rojo, hemacia, globulo rosso",
    ),
)


def known_cell(text: str) -> KnownCell | None:
    """The cell that a label or a folder's name means; None if it is none of the known names."""
    words = _words(text)
    if not words:
        return None
    names = _names()
    return names.get(words) or names.get(words.removesuffix("s"))


def rolled_up(cell: KnownCell) -> str:
    """The name of the class that a kind of cell is counted as where its own kind is not a class."""
    return cell.parent or cell.name


def nearest_names(text: str, most: int = 3) -> list[str]:
    """Canonical names whose spellings are most like `text`, best first; often empty."""
    spelled = difflib.get_close_matches(_words(text), _names(), n=3 * most, cutoff=0.7)
    return list(dict.fromkeys(_names()[name].name for name in spelled))[:most]


@cache
def _names() -> dict[str, KnownCell]:
    return {_words(name): cell for cell in KNOWN_CELLS for name in (cell.name, *cell.synonyms)}


def _words(text: str) -> str:
    """Lower-case words without accents, signs and a number before them."""
    plain = "".join(sign for sign in unicodedata.normalize("NFKD", text) if not unicodedata.combining(sign))
    words = re.sub(r"[^\w]|_", " ", plain.casefold()).split()
    while len(words) > 1 and words[0].isdigit():
        words = words[1:]
    return " ".join(words)
