"""Our own networks: shapes, the timm methods that the package uses, and what makes each of them what it is."""

import numpy as np
import pytest
import torch

from bloodcell_batch.cell_classes import DEFAULT_CLASSES
from bloodcell_batch.errors import ModelFileError
from bloodcell_batch.images.preprocessing import Preprocessing
from bloodcell_batch.model.architectures import ARCHITECTURES, CellNetwork, widths_of
from bloodcell_batch.model.network import InferenceModule, create_network, logits_and_features

SIDES = {"cell_cnn2": 300, "cell_cnn28": 28, "cell_fcnn": 28, "cell_unet": 50, "inception_xception": 96}


def network_of(name: str) -> CellNetwork:
    if name == "cell_unet":
        pytest.importorskip("segmentation_models_pytorch", reason="needs the extra [compare]")
    network = create_network(name, len(DEFAULT_CLASSES)).eval()
    assert isinstance(network, CellNetwork)
    return network


@pytest.mark.parametrize("name", sorted(ARCHITECTURES))
def test_every_network_gives_logits_and_the_features_before_them(name: str) -> None:
    network, side = network_of(name), SIDES[name]
    pixels = torch.rand(2, 3, side, side)
    with torch.inference_mode():
        logits, features = logits_and_features(network, pixels)
        torch.testing.assert_close(network(pixels), logits)
    assert logits.shape == (2, 8)
    assert features.shape == (2, network.get_classifier().in_features)
    module = InferenceModule(network, Preprocessing(input_size=side), 1.0).eval()
    images = torch.from_numpy(np.zeros((2, side, side, 3), dtype=np.uint8))
    with torch.inference_mode():
        torch.testing.assert_close(module(images)[0].sum(dim=1), torch.ones(2))


def test_the_fully_connected_network_is_784_500_500_8_on_grey() -> None:
    network = network_of("cell_fcnn")
    shapes = [tuple(weight.shape) for weight in network.parameters() if weight.ndim == 2]
    assert shapes == [(500, 784), (500, 500), (8, 500)]
    coloured = torch.rand(1, 3, 28, 28)
    grey = (coloured * torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)).sum(dim=1, keepdim=True)
    torch.testing.assert_close(network(coloured), network(grey.expand(-1, 3, -1, -1)))


def test_the_hybrid_concatenates_the_features_of_both_networks() -> None:
    network = network_of("inception_xception")
    inception, xception = network.body.parts  # type: ignore[misc]
    pixels = torch.rand(2, 3, 96, 96)
    with torch.inference_mode():
        features = logits_and_features(network, pixels)[1]
        torch.testing.assert_close(features[:, :2048], inception(pixels))
        torch.testing.assert_close(features[:, 2048:], xception(pixels))
    assert features.shape == (2, 4096)


def test_the_decoder_of_the_u_net_is_trained() -> None:
    network = network_of("cell_unet").train()
    network(torch.rand(2, 3, 64, 64)).square().sum().backward()
    gradients = {name: weight.grad for name, weight in network.named_parameters()}
    assert all(gradient is not None and gradient.abs().sum() > 0 for gradient in gradients.values())


def test_widths() -> None:
    count = {
        name: sum(w.numel() for w in create_network(name, len(DEFAULT_CLASSES)).parameters())
        for name in widths_of("cell_cnn28@2")
    }
    assert list(count) == ["cell_cnn28@0.5", "cell_cnn28", "cell_cnn28@2"]
    assert sorted(count.values()) == list(count.values())
    assert {"mobilenetv2_050", "mobilenetv2_140"} <= set(widths_of("mobilenetv2_100"))
    assert widths_of("resnet50") == ["resnet50"]


@pytest.mark.parametrize("name", ["cell_unet@2", "cell_fcnn@x", "cell_fcnn@0", "cell_fcnn@"])
def test_impossible_widths_are_refused(name: str) -> None:
    with pytest.raises(ModelFileError, match="can't be built"):
        create_network(name, len(DEFAULT_CLASSES))


def test_an_unknown_name_lists_ours() -> None:
    with pytest.raises(ModelFileError) as caught:
        create_network("cell_cnn3", len(DEFAULT_CLASSES))
    assert "cell_cnn2" in caught.value.hint
