"""Where in a photograph lies what a network finds: the resize and the crop taken back, on images where it is known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from PIL import ExifTags, Image

from fxconv.data import photographs
from fxconv.models.photograph_places import Places, places
from fxconv.models.preprocessing import Preprocessing
from fxconv.models.preprocessing_function import from_function

PLAIN = replace(Preprocessing.in_unit_range(), height=32, width=48, resize=1.25)  # covers 40x60
SHAPES = [(32, 48), (100, 160), (300, 90), (41, 640), (20, 700), (900, 30)]
WAYS = {
    "covered and cropped": PLAIN,
    "covered, no margin": replace(PLAIN, resize=1.0),
    "stretched": replace(PLAIN, stretched=(32, 48)),
    "stretched and cropped": replace(PLAIN, stretched=(50, 60)),
    "smaller than the input, with a border": replace(PLAIN, stretched=(21, 33)),
}


def test_by_hand():
    # 100 high and 200 wide covers 40x60 as 40x80, of which 32x48 stay: 4 go above, 16 on the left; 2.5 pixels each
    assert places(PLAIN, 100, 200) == Places(left=40.0, top=10.0, across=2.5, down=2.5)
    assert places(PLAIN, 100, 200).photograph(24.0, 16.0) == (100.0, 50.0)  # the middle is the middle
    stretched = places(replace(PLAIN, stretched=(32, 48)), 320, 96)
    assert stretched == Places(0.0, 0.0, across=2.0, down=10.0)
    assert places(PLAIN, 100, 200).enlarged(4.0, 4.0).photograph(24.0, 16.0) == (400.0, 200.0)


@pytest.mark.parametrize("how", WAYS.values(), ids=WAYS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_a_ramp_says_where_each_pixel_comes_from(how, shape):
    """Of an image whose brightness is the column, or the row, a pixel of the input tells where it was."""
    height, width = shape
    where = places(how, height, width)
    rows, columns = np.mgrid[0:height, 0:width].astype(np.float32) + 0.5
    for axis, (ramp, length) in enumerate(((columns, width), (rows, height))):
        grey = Image.fromarray(np.uint8(np.round(ramp * 255 / length))).convert("RGB")
        found = how.fitted(grey)[0].numpy() * length
        for y in (how.height // 3, how.height // 2, how.height * 2 // 3):
            for x in (how.width // 3, how.width // 2, how.width * 2 // 3):
                told = where.photograph(x + 0.5, y + 0.5)[axis]
                # a step of the ramp, and half a pixel of the input where it is resized
                assert found[y, x] == pytest.approx(told, abs=length / 255 + 0.3 * max(where.across, where.down, 1))


def test_an_upright_photograph_of_one_that_lies(tmp_path):
    """A dot in a photograph that EXIF turns: places are those of the upright one, as everybody sees it."""
    upright = np.zeros((160, 100, 3), np.uint8)
    upright[120:130, 20:30] = 255
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6  # turned by a quarter to the right when it is shown
    Image.fromarray(np.rot90(upright).copy()).save(tmp_path / "lies.png", exif=exif)
    image = photographs.read(tmp_path / "lies.png", "RGB", 64)
    assert photographs.upright_size(tmp_path / "lies.png") == (image.height, image.width) == (160, 100)
    how = replace(PLAIN, height=80, width=48, resize=1.0)
    seen = how.fitted(image)[0].numpy()
    rows, columns = np.nonzero(seen > 0.5)
    x, y = places(how, 160, 100).photograph(columns.mean() + 0.5, rows.mean() + 0.5)
    assert (x, y) == (pytest.approx(25, abs=1), pytest.approx(125, abs=1))


def test_of_a_function_nobody_knows():
    def half(image):
        return np.zeros((3, 16, 16), np.float32)

    assert places(from_function(half), 100, 100) is None
