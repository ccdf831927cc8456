"""The figures that the LETTER paper reports (CIKM 2024, tables 1 to 4, Fig. 8).

Metrics of tables 1 to 3 are on the test split, by full ranking. The paper's tables disagree on
TIGER's NDCG@10 on Beauty: .0321 in table 1, .0331 in table 2; both are kept as printed.
"""

from __future__ import annotations

from collections.abc import Mapping

Figures = Mapping[str, float]

_FOUR = ("recall@5", "recall@10", "ndcg@5", "ndcg@10")
_TWO = ("recall@10", "ndcg@10")


def _figures(names: tuple[str, ...], *values: float) -> Figures:
    return dict(zip(names, values, strict=True))


# Table 1: model -> data set -> metrics.
TABLE_1: Mapping[str, Mapping[str, Figures]] = {
    "MF": {
        "Instruments": _figures(_FOUR, 0.0479, 0.0735, 0.0330, 0.0412),
        "Beauty": _figures(_FOUR, 0.0294, 0.0474, 0.0145, 0.0191),
        "Yelp": _figures(_FOUR, 0.0220, 0.0296, 0.0142, 0.0177),
    },
    "Caser": {
        "Instruments": _figures(_FOUR, 0.0543, 0.0710, 0.0355, 0.0409),
        "Beauty": _figures(_FOUR, 0.0205, 0.0347, 0.0131, 0.0176),
        "Yelp": _figures(_FOUR, 0.0150, 0.0203, 0.0094, 0.0118),
    },
    "HGN": {
        "Instruments": _figures(_FOUR, 0.0813, 0.1048, 0.0668, 0.0774),
        "Beauty": _figures(_FOUR, 0.0325, 0.0512, 0.0206, 0.0266),
        "Yelp": _figures(_FOUR, 0.0186, 0.0245, 0.0118, 0.0147),
    },
    "Bert4Rec": {
        "Instruments": _figures(_FOUR, 0.0671, 0.0822, 0.0560, 0.0608),
        "Beauty": _figures(_FOUR, 0.0203, 0.0347, 0.0124, 0.0170),
        "Yelp": _figures(_FOUR, 0.0186, 0.0249, 0.0119, 0.0149),
    },
    "LightGCN": {
        "Instruments": _figures(_FOUR, 0.0794, 0.1000, 0.0662, 0.0728),
        "Beauty": _figures(_FOUR, 0.0305, 0.0511, 0.0194, 0.0260),
        "Yelp": _figures(_FOUR, 0.0248, 0.0321, 0.0158, 0.0196),
    },
    "SASRec": {
        "Instruments": _figures(_FOUR, 0.0751, 0.0947, 0.0627, 0.0690),
        "Beauty": _figures(_FOUR, 0.0380, 0.0588, 0.0246, 0.0313),
        "Yelp": _figures(_FOUR, 0.0183, 0.0238, 0.0117, 0.0146),
    },
    "BIGRec": {
        "Instruments": _figures(_FOUR, 0.0513, 0.0576, 0.0470, 0.0491),
        "Beauty": _figures(_FOUR, 0.0243, 0.0299, 0.0181, 0.0198),
        "Yelp": _figures(_FOUR, 0.0154, 0.0191, 0.0110, 0.0127),
    },
    "P5-TID": {
        "Instruments": _figures(_FOUR, 0.0000, 0.0001, 0.0000, 0.0000),
        "Beauty": _figures(_FOUR, 0.0182, 0.0432, 0.0132, 0.0254),
        "Yelp": _figures(_FOUR, 0.0184, 0.0251, 0.0124, 0.0156),
    },
    "P5-SemID": {
        "Instruments": _figures(_FOUR, 0.0775, 0.0964, 0.0669, 0.0730),
        "Beauty": _figures(_FOUR, 0.0393, 0.0584, 0.0273, 0.0335),
        "Yelp": _figures(_FOUR, 0.0202, 0.0268, 0.0130, 0.0163),
    },
    "P5-CID": {
        "Instruments": _figures(_FOUR, 0.0809, 0.0987, 0.0695, 0.0751),
        "Beauty": _figures(_FOUR, 0.0404, 0.0597, 0.0284, 0.0347),
        "Yelp": _figures(_FOUR, 0.0219, 0.0284, 0.0141, 0.0174),
    },
    "TIGER": {
        "Instruments": _figures(_FOUR, 0.0870, 0.1058, 0.0737, 0.0797),
        "Beauty": _figures(_FOUR, 0.0395, 0.0610, 0.0253, 0.0321),
        "Yelp": _figures(_FOUR, 0.0262, 0.0331, 0.0169, 0.0207),
    },
    "LETTER-TIGER": {
        "Instruments": _figures(_FOUR, 0.0909, 0.1122, 0.0763, 0.0831),
        "Beauty": _figures(_FOUR, 0.0431, 0.0672, 0.0277, 0.0364),
        "Yelp": _figures(_FOUR, 0.0286, 0.0364, 0.0184, 0.0227),
    },
    "LC-Rec": {
        "Instruments": _figures(_FOUR, 0.0824, 0.1006, 0.0712, 0.0772),
        "Beauty": _figures(_FOUR, 0.0443, 0.0642, 0.0311, 0.0374),
        "Yelp": _figures(_FOUR, 0.0230, 0.0298, 0.0148, 0.0184),
    },
    "LETTER-LC-Rec": {
        "Instruments": _figures(_FOUR, 0.0913, 0.1115, 0.0789, 0.0854),
        "Beauty": _figures(_FOUR, 0.0505, 0.0703, 0.0355, 0.0418),
        "Yelp": _figures(_FOUR, 0.0255, 0.0326, 0.0166, 0.0205),
    },
}

# Table 2: variant -> data set -> metrics.
TABLE_2: Mapping[str, Mapping[str, Figures]] = {
    "(0): TIGER": {
        "Instruments": _figures(_TWO, 0.1058, 0.0797),
        "Beauty": _figures(_TWO, 0.0610, 0.0331),
    },
    "(1): TIGER w/ c. r.": {
        "Instruments": _figures(_TWO, 0.1078, 0.0810),
        "Beauty": _figures(_TWO, 0.0660, 0.0351),
    },
    "(2): TIGER w/ d. r.": {
        "Instruments": _figures(_TWO, 0.1075, 0.0809),
        "Beauty": _figures(_TWO, 0.0618, 0.0335),
    },
    "(3): (1) w/ d. r.": {
        "Instruments": _figures(_TWO, 0.1092, 0.0819),
        "Beauty": _figures(_TWO, 0.0672, 0.0357),
    },
    "(4): LETTER-TIGER": {
        "Instruments": _figures(_TWO, 0.1122, 0.0831),
        "Beauty": _figures(_TWO, 0.0672, 0.0364),
    },
}

# Table 3: quantized embeddings in place of a trained SASRec's item embeddings.
TABLE_3: Mapping[str, Mapping[str, Figures]] = {
    "TIGER": {
        "Instruments": _figures(_FOUR, 0.0050, 0.0150, 0.0024, 0.0049),
        "Beauty": _figures(_FOUR, 0.0128, 0.0213, 0.0064, 0.0085),
    },
    "LETTER": {
        "Instruments": _figures(_FOUR, 0.0080, 0.0159, 0.0038, 0.0058),
        "Beauty": _figures(_FOUR, 0.0175, 0.0343, 0.0076, 0.0118),
    },
}

# Table 4: as far as can be told, share of items with a code equal to their CF neighbour's.
TABLE_4: Mapping[str, Mapping[str, Figures]] = {
    "TIGER": {"Instruments": {"cf_overlap_any": 0.0849}, "Beauty": {"cf_overlap_any": 0.1135}},
    "LETTER": {"Instruments": {"cf_overlap_any": 0.2760}, "Beauty": {"cf_overlap_any": 0.3312}},
}

# Fig. 8: one setting at a time, the others at the paper's values. The figure's text names the
# ranges and the turning points; the values between are the search ranges of section 5.4.
FIGURE_8: Mapping[str, tuple[float, ...]] = {
    "tokenizer.levels": (2, 3, 4, 6, 8),  # L
    "tokenizer.codes": (64, 128, 256, 512),  # N
    "tokenizer.alpha": (0.001, 0.01, 0.02, 0.1),
    "tokenizer.beta": (1e-5, 1e-4, 1e-3, 1e-2),
    "tokenizer.clusters": (5, 10, 20),  # K
    "recommender.temperature": (0.6, 0.7, 0.8, 0.9, 1.0, 1.2),  # tau
}
