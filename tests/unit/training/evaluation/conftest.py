from dataclasses import replace

import pytest
import torch
from poselift_training.data.sequences import Sequences
from poselift_training.evaluation.evaluate import evaluate
from poselift_training.evaluation.report import Report

from poselift.lifters.official.pstmo import import_pstmo
from tests.unit.training.evaluation.golden_artifacts import TINY_H36M, artifact, weights
from tests.unit.training.evaluation.walkers import moving, views_of


@pytest.fixture(scope="session")
def refined_report() -> Report:
    refine = import_pstmo(weights("pstmo_c64_h128_n27_l3"), weights("pstmo_refine_j17"))[1]
    return evaluate(artifact(), data="h36m", root=TINY_H36M, keypoints="cpn_ft_h36m_dbb", refine=refine, baselines=True)


@pytest.fixture(scope="session")
def detected() -> Sequences:
    sequences = views_of(moving((60, 31, 4)), noise=True)
    keypoints = sequences.keypoints.clone()
    keypoints[:5, 3] = torch.nan  # not seen at first
    keypoints[20:30, 11:14] = torch.nan
    # Of the first sequence not all frames are scored, of the last none.
    valid = torch.ones_like(sequences.valid)
    valid[7:12] = False
    valid[-4:] = False
    return replace(sequences, keypoints=keypoints, valid=valid)
