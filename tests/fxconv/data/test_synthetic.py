"""Generated images: reproducible, and with the statistics of natural ones."""

from __future__ import annotations

import numpy as np
import pytest

from fxconv.data.synthetic import natural_images


def spectral_slope(image: np.ndarray) -> float:
    """The slope of log amplitude against log frequency, averaged over directions; white noise has 0."""
    grey = image.mean(axis=2)
    size = len(grey)
    window = np.hanning(size)
    amplitude = np.abs(np.fft.fft2((grey - grey.mean()) * np.outer(window, window)))
    index = np.fft.fftfreq(size) * size
    frequency = np.hypot(index[:, None], index[None, :]).round().astype(int)
    rings = np.arange(2, size // 3)
    means = [amplitude[frequency == ring].mean() for ring in rings]
    return float(np.polyfit(np.log(rings), np.log(means), 1)[0])


def test_the_same_seed_gives_the_same_bytes():
    first = [image.tobytes() for image in natural_images(4, 24, 40, seed=5)]
    assert [image.tobytes() for image in natural_images(4, 24, 40, seed=5)] == first
    assert [image.tobytes() for image in natural_images(4, 24, 40, seed=6)] != first
    assert len(set(first)) == 4


def test_an_image_does_not_depend_on_how_many_are_asked_for():
    few, many = list(natural_images(2, 16, 16)), list(natural_images(5, 16, 16))
    assert all(np.array_equal(a, b) for a, b in zip(few, many, strict=False))


def test_images_are_uint8_of_the_asked_shape():
    for image in natural_images(2, 24, 40):
        assert (image.shape, image.dtype) == ((24, 40, 3), np.uint8)


@pytest.mark.parametrize("channels", [1, 4])
def test_other_channel_counts_are_grey(channels):
    for image in natural_images(2, 16, 16, channels=channels):
        assert image.shape == (16, 16, channels)
        assert np.array_equal(image, np.repeat(image[:, :, :1], channels, axis=2))


@pytest.mark.parametrize("kind", [0, 1], ids=["1/f noise", "dead leaves"])
def test_amplitudes_fall_off_with_frequency_as_in_natural_images(kind):
    slopes = [spectral_slope(image) for image in list(natural_images(12, 128, 128))[kind::2]]
    # Field 1987 measured -0.8 to -1.5 on photographs
    assert -1.4 < np.mean(slopes) < -0.9
    assert all(-1.7 < slope < -0.7 for slope in slopes)


def test_white_noise_would_not_pass():
    noise = np.random.default_rng(0).integers(0, 256, (128, 128, 3)).astype(np.uint8)
    assert abs(spectral_slope(noise)) < 0.1


def test_images_use_the_range_and_are_not_flat():
    for image in natural_images(8, 64, 64):
        assert image.std() > 10
        assert 20 < image.mean() < 235


def test_dead_leaves_have_flat_regions_and_edges():
    noise, leaves = list(natural_images(2, 128, 128))[:2]
    flat = [np.mean(np.diff(image.astype(int), axis=1) == 0) for image in (noise, leaves)]
    assert flat[1] > 0.4 > flat[0]
