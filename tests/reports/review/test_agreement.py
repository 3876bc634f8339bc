import random

import pytest

from bloodcell_batch.cell_classes import DEFAULT_CLASSES
from bloodcell_batch.statistics.agreement import ClassAgreement, agreement


class TestAgreement:
    def test_a_worked_example(self) -> None:
        # Cohen's kappa by hand: observed 0.7, by chance 0.5 * 0.6 + 0.5 * 0.4 = 0.5, so 0.4
        pairs = [("a", "a")] * 20 + [("a", "b")] * 5 + [("b", "a")] * 10 + [("b", "b")] * 15
        found = agreement(pairs)
        assert found.kappa == pytest.approx(0.4)
        assert (found.cells, found.agreed) == (50, 35)
        assert found.per_class["a"] == ClassAgreement(25, 30, 20)
        # Clopper & Pearson of 35 in 50, and the same shares as kappa: (share - 0.5) / 0.5
        assert found.limits == pytest.approx((0.5539, 0.8214), abs=1e-4)
        assert found.kappa_limits == pytest.approx((0.1078, 0.6428), abs=2e-4)

    def test_classes_are_in_the_order_that_is_given(self) -> None:
        pairs = [("ig", "other"), ("basophil", "neutrophil"), ("neutrophil", "neutrophil"), ("zebra", "ig")]
        order = DEFAULT_CLASSES.verified_labels
        assert list(agreement(pairs, order).per_class) == ["neutrophil", "basophil", "ig", "other", "zebra"]

    def test_full_agreement_still_has_a_lower_limit(self) -> None:
        found = agreement([("a", "a")] * 15 + [("b", "b")] * 15)
        assert found.kappa == 1
        assert found.limits == pytest.approx((0.8843, 1), abs=1e-4)
        assert found.kappa_limits == pytest.approx((0.7686, 1), abs=1e-4)

    def test_equal_to_statsmodels(self) -> None:
        rater = pytest.importorskip("statsmodels.stats.inter_rater")
        rng = random.Random(3)
        names = DEFAULT_CLASSES.names[:5]
        pairs = [(a, a if rng.random() < 0.7 else rng.choice(names)) for a in rng.choices(names, k=300)]
        table = [[pairs.count((a, b)) for b in names] for a in names]
        assert agreement(pairs).kappa == pytest.approx(rater.cohens_kappa(table).kappa)

    def test_the_lower_limit_is_one_that_kappa_can_have(self) -> None:
        found = agreement([("a", "a")] * 15 + [("a", "b")])
        assert found.kappa == 0
        assert found.kappa_limits is not None
        assert found.kappa_limits[0] == -1

    def test_undefined_where_everything_is_one_class(self) -> None:
        assert agreement([("a", "a")] * 5).kappa is None
        assert agreement([]).kappa is None
        assert agreement([("a", "a")] * 5).kappa_limits is None
        assert agreement([]).limits is None
