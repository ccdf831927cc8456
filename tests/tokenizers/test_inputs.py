import numpy as np
import torch

from letterrec.tokenizers.inputs import Inputs

CONTENT = np.array([[1, 2], [3, 2], [5, 2]], dtype=np.float32)
CF = np.array([[0, 1], [0, 3], [9, 2]], dtype=np.float32)


def read(content: np.ndarray, cf: np.ndarray | None = None, d_cf: int = 0) -> torch.Tensor:
    inputs = Inputs(content.shape[1], d_cf).measure(content, cf)
    return inputs(torch.from_numpy(content), None if cf is None else torch.from_numpy(cf))


def test_content_alone_is_centred_and_scaled_by_one_number():
    # centred: -2, 0, 2 in the first dimension; mean squared length 8/3, two dimensions
    expected = torch.tensor([[-2.0, 0], [0, 0], [2, 0]]) / (8 / 3) ** 0.5 * 2**0.5
    assert torch.allclose(read(CONTENT), expected)
    assert torch.allclose(read(CONTENT).square().mean(), torch.tensor(1.0))


def test_the_cf_block_weighs_three_times_the_content_whatever_their_scales():
    both = read(CONTENT, CF, d_cf=2)
    assert torch.allclose(both[:, :2].square().sum(1).mean(), torch.tensor(1.0))
    assert torch.allclose(both[:, 2:].square().sum(1), torch.tensor(3.0))  # directions alone
    assert torch.allclose(both.square().mean(), torch.tensor(1.0))
    assert torch.allclose(read(100 * CONTENT, 0.01 * CF, d_cf=2), both, atol=1e-5)


def test_an_item_without_cf_stands_at_the_centre_of_them():
    inputs = Inputs(2, 2).measure(CONTENT, CF)
    alone = inputs(torch.from_numpy(CONTENT))
    centre = inputs(torch.from_numpy(CONTENT), torch.tensor([[3.0, 2.0]]).expand(3, -1))
    assert torch.equal(alone, centre)
    assert (alone[:, 2:] == 0).all()


def test_raw_inputs_are_what_was_given():
    inputs = Inputs(2, scale="raw").measure(CONTENT, None)
    assert torch.equal(inputs(torch.from_numpy(CONTENT)), torch.from_numpy(CONTENT))
    assert inputs.centre.tolist() == [3, 2]
    both = Inputs(2, 2, scale="raw").measure(CONTENT, CF)
    assert torch.equal(
        both(torch.from_numpy(CONTENT), torch.from_numpy(CF)),
        torch.from_numpy(np.hstack([CONTENT, CF])),
    )
    assert both(torch.from_numpy(CONTENT))[0].tolist() == [1, 2, 3, 2]  # without CF: its centre


def test_content_without_any_difference_is_finite():
    assert (read(np.ones((4, 3), dtype=np.float32)) == 0).all()
