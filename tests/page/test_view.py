"""What is seen of a large, dim stack: every region wholly and in the middle, its vessels brighter than what is around them."""

from __future__ import annotations

import io

import numpy as np
import pytest
from page.seat import Seat
from PIL import Image
from playwright.sync_api import Locator

from minivess.models import ModelRef, Prediction
from minivess.review.prediction_cache import CachedPrediction, PredictionCache
from minivess.volume import read_volume

#: Corners of a box of voxels in the main view and the view itself, in CSS pixels: [left, top, right, bottom] of both.
PLACED = """(box) => { const { viewer } = window.minivess; viewer.jump(box)
    const { nv, grid, canvas } = viewer; const scale = canvas.width / canvas.clientWidth
    const tile = nv.screenSlices.find(({ axCorSag }) => axCorSag === 0)
    const [left, top, width, height] = tile.leftTopWidthHeight
    const corners = [[box[0], box[2]], [box[1], box[3]]].map(([i, j]) => nv.frac2canvasPosWithTile(
        [i / grid.shape[0], j / grid.shape[1], nv.scene.crosshairPos[2]], nv.screenSlices.indexOf(tile)).pos)
    const [xs, ys] = [corners.map((c) => c[0] / scale), corners.map((c) => c[1] / scale)]
    return [[Math.min(...xs), Math.min(...ys), Math.max(...xs), Math.max(...ys)], [left, top, left + width, top + height].map((v) => v / scale)] }"""

#: Pixels of the two outlines in the main view, of the model before and of now, while the line between them lies at a share of it.
BLUE = """(share) => { const { viewer } = window.minivess; viewer.jump([30, 70, 30, 70, 2, 6]); viewer.comparison.share = share; viewer.redrawn()
    const { data } = viewer.frame.getContext('2d').getImageData(0, 0, Math.floor(0.6 * viewer.frame.width), viewer.frame.height)
    const found = [0, 0]; for (let n = 0; n < data.length; n += 4) if (data[n + 3] > 100) {
        if (data[n] < 120 && data[n + 2] > 220) found[0] += 1; if (data[n] > 220 && data[n + 1] < 120 && data[n + 2] < 130) found[1] += 1 }
    return found }"""

IMAGES = ("plain", "large", "wide", "wanted", "broad")


def boxes_of(seat: Seat, image: str = "large") -> list[list[int]]:
    """Regions of the queue, and boxes at the borders and corners of the stack."""
    items = seat.lab.ask("GET", f"/review/?image={image}&limit=40", "ann").json()["places"]
    x, y, z = seat.page.evaluate("() => window.minivess.viewer.grid.shape")
    edges = [[i, i + 64, j, j + 64, k, min(z, k + 4)] for i in (0, x - 64) for j in (0, y - 64) for k in (0, max(0, z - 4))]
    small = [[0, 8, 0, 8, 0, 1], [x - 8, x, 200, 208, z - 1, z]]
    return [item["box"] for item in items] + edges + small


@pytest.mark.parametrize("image", ["large", "wide"])
def test_every_region_is_wholly_in_view_and_in_the_middle(seat: Seat, image: str) -> None:
    seat.connect(image)
    for width, height in ((1200, 760), (1024, 768), (1440, 900)):
        seat.page.set_viewport_size({"width": width, "height": height})
        seat.drawn()
        boxes = boxes_of(seat, image)
        assert len(boxes) >= 50
        for box in boxes:
            placed, view = seat.page.evaluate(PLACED, box)
            assert placed[0] >= view[0] - 1, (box, placed, view)
            assert placed[1] >= view[1] - 1, (box, placed, view)
            assert placed[2] <= view[2] + 1, (box, placed, view)
            assert placed[3] <= view[3] + 1, (box, placed, view)
            voxel = (placed[2] - placed[0]) / (box[1] - box[0])
            middle = [(placed[0] + placed[2]) / 2, (placed[1] + placed[3]) / 2]
            np.testing.assert_allclose(middle, [(view[0] + view[2]) / 2, (view[1] + view[3]) / 2], atol=1.5 * voxel)


def test_the_map_never_covers_the_region(seat: Seat) -> None:
    seat.connect("plain")  # 160 pixels: its regions are large in the view
    boxes = [item["box"] for item in seat.lab.ask("GET", "/review/?image=plain", "ann").json()["places"]]
    shown = []
    for box in [*boxes, [0, 160, 0, 144, 0, 12]]:
        (left, top, right, bottom), _ = seat.page.evaluate(PLACED, box)
        seat.drawn()
        place = seat.page.locator("#map").bounding_box() or {"x": 0, "y": 0, "width": 0, "height": 0}
        views = seat.page.locator("#pictures").bounding_box()
        shown.append(seat.page.locator("#map").is_visible())
        x, y = place["x"] - views["x"], place["y"] - views["y"]
        apart = right <= x + 1 or left >= x + place["width"] - 1 or bottom <= y + 1 or top >= y + place["height"] - 1
        assert apart or not shown[-1], (box, place)
    assert shown[0]
    assert not shown[-1]  # the box of the whole stack


def test_all_tools_fit_into_the_panel_and_rows_of_the_queue_beside_them(seat: Seat) -> None:
    seat.connect("large")
    seat.page.evaluate(
        "() => document.querySelectorAll('#tools label').forEach((tool) => { tool.hidden = false })"
    )  # of every model
    for width, height in ((1200, 760), (1024, 768), (1440, 900)):
        seat.page.set_viewport_size({"width": width, "height": height})
        panel = seat.page.locator("aside").bounding_box()
        for place in (tool.bounding_box() for tool in seat.page.locator("#tools label").all()):
            assert place["x"] + place["width"] <= panel["x"] + panel["width"], (width, place)
        listed = seat.page.locator("#list").bounding_box()
        rows = [row.bounding_box() for row in seat.page.locator("#queue tr").all()[:10]]
        whole = [row for row in rows if row["y"] + row["height"] <= listed["y"] + listed["height"]]
        assert len(whole) >= 2, (width, height)


def test_the_row_of_the_current_region_stays_in_view_when_the_window_shrinks(seat: Seat) -> None:
    seat.page.set_viewport_size({"width": 1440, "height": 900})
    seat.connect("large")
    visible = len([row for row in seat.page.locator("#queue tr").all() if is_in_list(seat, row)])
    chosen = seat.page.locator("#queue tr").nth(visible - 1)
    name = chosen.get_attribute("data-id")
    chosen.locator("button").click()
    row = seat.page.locator(f"#queue tr[aria-current=true][data-id='{name}']")  # another row was the current one before
    row.wait_for()
    seat.page.set_viewport_size({"width": 1024, "height": 640})
    seat.drawn()
    assert visible > len([row for row in seat.page.locator("#queue tr").all() if is_in_list(seat, row)])
    assert is_in_list(seat, row)


def is_in_list(seat: Seat, row: Locator) -> bool:
    listed, place = seat.page.locator("#list").bounding_box(), row.bounding_box()
    return listed["y"] - 1 <= place["y"] and place["y"] + place["height"] <= listed["y"] + listed["height"] + 1


def greys_of(seat: Seat, box: list[int]) -> np.ndarray:
    """The greys on the screen of the region's voxels in the slice shown, (x, y)."""
    (left, top, right, bottom), _ = seat.page.evaluate(PLACED, box)
    seat.drawn()
    shot = Image.open(io.BytesIO(seat.page.locator("#gl").screenshot())).convert("L")
    cut = shot.crop((round(left), round(top), round(right), round(bottom))).resize((box[1] - box[0], box[3] - box[2]), Image.BOX)
    return np.asarray(cut, dtype=float).T[:, ::-1]  # up is the second axis


def test_vessels_of_dim_slices_are_brighter_than_what_is_around_them(seat: Seat) -> None:
    seat.connect("large")
    truth = read_volume(seat.lab.folder / "truth" / "large.nii.gz").array > 0
    ratios: dict[str, list[float]] = {"slice": [], "stack": []}
    seat.page.locator("#gl").hover()
    for greys, found in ratios.items():
        seat.page.select_option("#greys", greys)
        seat.page.locator("#fit").focus()
        seat.page.keyboard.down("h")  # the image alone
        for box in [box for box in boxes_of(seat) if box[1] - box[0] > 32][::4]:
            vessel = truth[box[0] : box[1], box[2] : box[3], (box[4] + box[5] - 1) // 2]
            if vessel.sum() > 60:
                shown = greys_of(seat, box)
                found.append(shown[vessel].mean() / max(1.0, shown[~vessel].mean()))
        seat.page.keyboard.up("h")
    assert len(ratios["slice"]) >= 5
    assert np.median(ratios["slice"]) > 1.5, ratios
    assert min(ratios["slice"]) > 1.15, ratios


def test_slices_by_slider_and_keys_magnification_by_keys_and_wheel(seat: Seat) -> None:
    seat.connect("large")
    slider = seat.page.locator("#sliceNumber")
    slider.fill("3")
    assert seat.page.inner_text("#slice").startswith("slice 3 of 14; side views ")
    seat.page.locator("#gl").focus()
    seat.page.keyboard.press("PageUp")
    assert slider.input_value() == "4"
    at = seat.page.evaluate("() => window.minivess.viewer.crosshair()")
    for key, step in (("ArrowRight", (1, 0)), ("ArrowUp", (0, 1)), ("Shift+ArrowLeft", (-10, 0)), ("ArrowDown", (0, -1))):
        seat.page.keyboard.press(key)
        now = seat.page.evaluate("() => window.minivess.viewer.crosshair()")
        assert [now[0] - at[0], now[1] - at[1], now[2] - at[2]] == [*step, 0], key
        at = now
    zoom = "() => window.minivess.viewer.nv.scene.pan2Dxyzmm[3]"
    before, place = seat.page.evaluate(zoom), seat.crosshair()
    seat.page.keyboard.press("+")
    assert seat.page.evaluate(zoom) == pytest.approx(1.25 * before)
    assert seat.crosshair() == pytest.approx(place, abs=1)  # what is looked at stays where it is
    seat.page.mouse.move(*place)
    seat.page.keyboard.down("Control")
    seat.page.mouse.wheel(0, 300)
    seat.page.keyboard.up("Control")
    seat.page.wait_for_function(f"({zoom})() < {before}")
    seat.page.keyboard.press("0")
    assert seat.page.evaluate(zoom) == pytest.approx(before)


def test_by_keyboard_alone_a_path_is_traced_and_undone(seat: Seat) -> None:
    seat.connect("large")
    seat.picture("page")
    before, (i0, i1, j0, j1, k0, k1) = seat.mask(), seat.item["box"]
    seat.press("p")
    seat.page.locator("#gl").focus()
    for voxel in ((i0 + 2, (j0 + j1) // 2, (k0 + k1) // 2), (i1 - 3, (j0 + j1) // 2, (k0 + k1) // 2)):
        seat.page.evaluate("(ijk) => window.minivess.viewer.position.goTo(ijk)", list(voxel))
        seat.press("Enter")
    assert "path" in seat.message, seat.message
    seat.picture("page-path")
    assert (seat.mask() != before).any()
    seat.press("Control+z")
    np.testing.assert_array_equal(seat.mask(), before)
    seat.press("Control+Shift+z")
    assert (seat.mask() != before).any()
    seat.press("Control+z")
    seat.press("Escape")


def test_the_mask_is_compared_with_that_of_the_model_before(seat: Seat) -> None:
    image = read_volume(seat.lab.folder / "studies" / "wanted.nii.gz")
    before = np.zeros(image.shape, np.float32)
    before[40:60, 40:60, 2:6] = 0.9
    volume = image.with_array(before)
    earlier = Prediction(volume, volume, ModelRef("segresnet", "0", "a" * 64), 0.5)
    PredictionCache(seat.lab.folder / "model" / "review" / "predictions").put(
        "wanted", image, CachedPrediction.from_prediction(earlier)
    )
    page = seat.connect("plain").page
    page.select_option("#image", "wanted")
    page.wait_for_function("() => window.minivess.review.image?.name === 'wanted'", timeout=300_000)
    seat.idle()
    assert not seat.item  # another model has found its regions
    assert not page.is_visible("#compare")
    page.click("#again")  # the model of the server segments it
    page.wait_for_function("() => window.minivess.review.regions.current", timeout=300_000)
    seat.idle()
    assert not page.is_visible("#again")
    assert page.is_visible("#compare")
    shown = seat.mask() > 0
    item = seat.item
    seat.press("y")
    gained, lost = (np.count_nonzero(both) for both in (shown & ~(before > 0), (before > 0) & ~shown))
    assert f"{gained:,} voxels more and {lost:,} fewer" in seat.message, seat.message
    assert page.get_attribute("#compare", "aria-pressed") == "true"
    left, right = (seat.page.evaluate(BLUE, share) for share in (0.0, 1.0))
    seat.page.evaluate(BLUE, 0.5)
    seat.picture("page-model-before")
    assert left[0] == 0  # the line is at the left edge: only the mask of now
    assert right[0] > 50
    assert right[1] == 0
    seat.press("a")
    assert "Press Y" in seat.message
    assert seat.item == item
    seat.press("y")
    assert page.get_attribute("#compare", "aria-pressed") == "false"
    seat.press("a")
    assert seat.item != item
    np.testing.assert_array_equal(seat.mask() > 0, shown)


def test_an_image_wider_than_the_textures_of_the_graphics_card_shows_the_slice_that_it_says(seat: Seat) -> None:
    seat.connect("broad")
    assert seat.page.evaluate("() => window.minivess.viewer.nv.opts.is2DSliceShader")  # of Chromium without a GPU: 2048
    seat.page.locator("#gl").focus()
    seat.page.keyboard.down("h")  # the image alone
    shots = []
    for number in (2, 6):
        seat.page.evaluate("(slice) => window.minivess.viewer.position.showSlice(slice - 1)", number)
        seat.drawn()
        assert f"slice {number} of 8" in seat.page.inner_text("#slice")
        shots.append(np.asarray(Image.open(io.BytesIO(seat.page.locator("#gl").screenshot())).convert("L"), dtype=float))
    assert np.abs(shots[0] - shots[1]).mean() > 0.5
