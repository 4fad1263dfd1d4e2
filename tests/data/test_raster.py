"""Pictures in and out: grey levels as stored, what a viewer shows, and one line for every file that is refused."""

from __future__ import annotations

import logging
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from monai.data import DataLoader, Dataset, decollate_batch
from monai.transforms import Compose, LoadImage, LoadImaged, Orientationd, SaveImaged
from PIL import Image

from monai_cdiff.data import Derivation, RasterReader, RasterWriter, read_raster

ROWS, COLUMNS = 5, 7
DERIVATION = Derivation("denoised", "dn", {"seed": 0, "sampler": "DDIMScheduler"})


def greys(dtype: Any = np.uint8, seed: int = 0) -> np.ndarray:
    """Pixels (rows, columns) that reach both ends of the type."""
    limits = np.iinfo(dtype)
    pixels = np.random.default_rng(seed).integers(0, limits.max, (ROWS, COLUMNS), dtype)
    pixels[0, :2] = 0, limits.max
    return pixels


def colours(spread: int, mode: str = "RGB") -> Image.Image:
    pixels = np.repeat(greys()[..., None], len(mode), axis=-1)
    pixels[..., 0] = np.where(pixels[..., 0] > 127, pixels[..., 0] - spread, pixels[..., 0] + spread)
    return Image.fromarray(pixels, mode)


def saved(image: Image.Image | np.ndarray, path: Path, **options: Any) -> Path:
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(path, **options)
    return path


def png(path: Path, bits: int, colour: int, rows: list[bytes], size: tuple[int, int]) -> Path:
    """A PNG by the letter of its specification, for what Pillow does not write."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    header = struct.pack(">IIBBBBB", *size, bits, colour, 0, 0, 0)
    pixels = zlib.compress(b"".join(b"\0" + row for row in rows))
    parts = [(b"IHDR", header), (b"IDAT", pixels), (b"IEND", b"")]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts))
    return path


@pytest.mark.parametrize(
    ("name", "dtype", "options"),
    [
        ("a.png", np.uint8, {}),
        ("a.PNG", np.uint16, {}),
        ("a.bmp", np.uint8, {}),
        ("a.tif", np.uint8, {}),
        ("a.TIFF", np.uint16, {"compression": "tiff_deflate"}),
        ("a.tiff", ">u2", {}),
    ],
)
def test_values_are_those_stored(name: str, dtype: Any, options: dict[str, Any], tmp_path: Path) -> None:
    pixels = greys(np.dtype(dtype).newbyteorder("=")).astype(dtype)
    image = Image.fromarray(pixels) if dtype != ">u2" else Image.frombytes("I;16B", (COLUMNS, ROWS), pixels.tobytes())
    values, bits = read_raster(saved(image, tmp_path / name, **options))
    assert values.dtype == np.float32 and bits == 8 * np.dtype(dtype).itemsize
    np.testing.assert_array_equal(values, pixels.T)


def test_the_loaded_image_lies_as_an_x_ray_in_dicom(tmp_path: Path) -> None:
    path = saved(greys(np.uint16), tmp_path / "a.png")
    image = LoadImage(reader=["NibabelReader", RasterReader()], ensure_channel_first=True)(path)
    np.testing.assert_array_equal(image[0], greys(np.uint16).T)
    np.testing.assert_array_equal(image.affine, np.diag([-1, -1, 1, 1]))
    assert image.meta["filename_or_obj"] == str(path) and int(image.meta["raster_bits"]) == 16
    assert image.meta["padding"] == "none" and image.meta["dicom_source"] == ""


@pytest.mark.parametrize(("bits", "step"), [(1, 255), (2, 85), (4, 17)])
def test_levels_of_few_bits_are_the_greys_they_stand_for(bits: int, step: int, tmp_path: Path) -> None:
    values, depth = read_raster(png(tmp_path / "a.png", bits, 0, [b"\x1b"], (8 // bits, 1)))
    levels = [(0x1B >> shift) % 2**bits for shift in range(8 - bits, -1, -bits)]
    assert depth == 8 and values[:, 0].tolist() == [level * step for level in levels]


def test_greys_of_a_palette_are_looked_up(tmp_path: Path) -> None:
    image = Image.fromarray(np.array([[0, 1, 2]], np.uint8)).convert("P")
    image.putpalette([9, 9, 9, 200, 200, 200, 30, 30, 30])
    assert read_raster(saved(image, tmp_path / "a.png"))[0].T.tolist() == [[9, 200, 30]]
    image.putpalette([9, 9, 9, 200, 200, 201, 30, 30, 30])
    with pytest.raises(ValueError, match="a.png: is a colour image, its channels differ by up to 1 levels"):
        read_raster(saved(image, tmp_path / "a.png"))


@pytest.mark.parametrize("mode", ["LA", "RGB", "RGBA"])
@pytest.mark.parametrize("ending", ["png", "tif"])
def test_equal_channels_are_one(mode: str, ending: str, tmp_path: Path) -> None:
    values, bits = read_raster(saved(Image.fromarray(greys()).convert(mode), tmp_path / f"a.{ending}"))
    assert bits == 8
    np.testing.assert_array_equal(values, greys().T)


def test_a_grey_picture_saved_as_colour_jpeg_is_grey(tmp_path: Path) -> None:
    grey = Image.fromarray(np.add.outer(np.arange(40), np.arange(48)).astype(np.uint8))
    first, _ = read_raster(saved(grey, tmp_path / "grey.jpg", quality=95))
    second, bits = read_raster(saved(grey.convert("RGB"), tmp_path / "colour.jpeg", quality=95))
    assert bits == 8
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize(("blue", "red"), [(129, 127), (127, 129), (129, 129), (127, 128)])
def test_one_step_of_chroma_in_a_jpeg_is_rounding(blue: int, red: int, tmp_path: Path) -> None:
    luma = Image.new("L", (32, 32), 100)
    options: dict[str, Any] = {"quality": 100, "subsampling": 0}
    image = Image.merge("YCbCr", (luma, *(Image.new("L", (32, 32), level) for level in (blue, red))))
    decoded = np.asarray(Image.open(saved(image, tmp_path / "a.jpg", **options)))
    assert 0 < np.ptp(decoded[0, 0].astype(int)) <= 4
    np.testing.assert_allclose(read_raster(tmp_path / "a.jpg")[0], 100, atol=1)
    with pytest.raises(ValueError, match="is a colour image"):  # lossless, so it is meant
        read_raster(saved(Image.fromarray(decoded), tmp_path / "a.png"))


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.tif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_orientation_of_exif_is_applied(name: str, orientation: int, tmp_path: Path) -> None:
    picture = np.kron(np.array([[0, 60, 120], [240, 180, 30]], np.uint8), np.ones((16, 16), np.uint8))
    turns = [lambda x: x, np.fliplr, lambda x: np.rot90(x, 2), np.flipud]
    turns += [np.transpose, lambda x: np.rot90(x, -1), lambda x: np.rot90(x, 2).T, np.rot90]
    exif = Image.Exif()
    exif[0x112] = orientation
    for options in [{}, {"compression": "tiff_deflate"}] if name == "a.tif" else [{}]:
        values, _ = read_raster(saved(picture, tmp_path / name, exif=exif, **options))
        np.testing.assert_allclose(values.T, turns[orientation - 1](picture).astype(float), atol=12)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_white_is_zero_in_a_tiff_of_either_depth(dtype: Any, tmp_path: Path) -> None:
    path, pixels = tmp_path / "a.tif", greys(dtype)
    data, entry = saved(pixels, path).read_bytes(), struct.Struct("<HHII")
    assert data.count(entry.pack(262, 3, 1, 1)) == 1
    path.write_bytes(data.replace(entry.pack(262, 3, 1, 1), entry.pack(262, 3, 1, 0)))
    np.testing.assert_array_equal(read_raster(path)[0], np.iinfo(dtype).max - pixels.T.astype(np.float32))


def transparent(path: Path) -> Path:
    image = Image.fromarray(greys()).convert("LA")
    image.putpixel((3, 3), (7, 254))
    return saved(image, path)


def signed(path: Path) -> Path:
    return saved(Image.fromarray(greys().astype(np.int32) - 5), path)


REFUSED: dict[str, tuple[Any, str]] = {
    "colour.png": (lambda path: saved(colours(60), path), "is a colour image, its channels differ by up to 60 levels"),
    "colour.jpg": (lambda path: saved(Image.new("RGB", (9, 9), (90, 20, 20)), path), "is a colour image"),
    "alpha.png": (transparent, "is transparent in places"),
    "palette.png": (lambda path: saved(Image.new("P", (2, 2)), path, transparency=0), "is transparent in places"),
    "key.png": (lambda path: saved(greys(), path, transparency=0), "calls a grey or colour transparent"),
    "cmyk.jpg": (lambda path: saved(Image.new("CMYK", (4, 4)), path), "pixels of mode 'CMYK'; allowed are grey levels"),
    "float.tif": (lambda path: saved(greys().astype(np.float32), path), "pixels of mode 'F'"),
    "long.tif": (signed, "pixels of mode 'I'"),
    "deep.png": (lambda path: png(path, 16, 2, [bytes(6)], (1, 1)), "several channels of 16 bits"),
    "deep-alpha.png": (lambda path: png(path, 16, 4, [bytes(2) + b"\xff\xff"], (1, 1)), "several channels of 16 bits"),
    "pages.tif": (
        lambda path: saved(greys(), path, save_all=True, append_images=[Image.fromarray(greys())] * 2),
        "holds 3 pages or frames",
    ),
    "moving.png": (
        lambda path: saved(greys(), path, save_all=True, append_images=[Image.fromarray(greys(seed=1))]),
        "holds 2 pages or frames",
    ),
    "empty.png": (lambda path: path.write_bytes(b""), "is no PNG, JPEG, BMP or TIFF image"),
    "text.png": (lambda path: path.write_text("no image"), "is no PNG, JPEG, BMP or TIFF image"),
    "gif.png": (lambda path: saved(greys(), path, format="GIF"), "is no PNG, JPEG, BMP or TIFF image"),
    "bomb.png": (lambda path: png(path, 8, 0, [b""], (10000, 10000)), "10000 x 10000 pixels are more than"),
    "huge.png": (lambda path: png(path, 8, 0, [b""], (60000, 60000)), "raise PIL.Image.MAX_IMAGE_PIXELS"),
}


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_grey_picture_is_refused_by_name(name: str, tmp_path: Path) -> None:
    make, sentence = REFUSED[name]
    make(tmp_path / name)
    load = LoadImage(reader=["NibabelReader", "PILReader", RasterReader()])
    with pytest.raises(ValueError, match=sentence) as caught:
        load(tmp_path / name)
    assert str(tmp_path / name) in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.bmp", "a.tif"])
@pytest.mark.parametrize("share", [0.2, 0.6, 0.95])
def test_a_file_cut_short_is_refused(name: str, share: float, tmp_path: Path) -> None:
    path = saved(np.random.default_rng(0).integers(0, 256, (60, 50), np.uint8), tmp_path / name)
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    with pytest.raises(ValueError, match=name) as caught:
        read_raster(path)
    assert "cannot be read; is the file whole?" in str(caught.value) or "is no PNG" in str(caught.value)


def test_other_names_and_numbers_of_files_are_refused(tmp_path: Path) -> None:
    reader = RasterReader()
    assert reader.verify_suffix("a.JPeG") and not reader.verify_suffix(["a.png", "a.dcm"])
    with pytest.raises(ValueError, match=r"'a.dcm'.*no picture; its name must end in .png"):
        reader.read("a.dcm")
    with pytest.raises(FileNotFoundError, match="gone.png does not exist"):
        LoadImage(reader=reader)(tmp_path / "gone.png")
    with pytest.raises(ValueError, match="2 pictures, a.png the first; give one"):
        reader.get_data(reader.read(["a.png", "b.png"]))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (ROWS, COLUMNS)])
def test_what_is_read_is_written_through_a_batch(dtype: Any, shape: tuple[int, int], tmp_path: Path) -> None:
    pixels = [np.resize(greys(dtype, seed), shape) for seed in range(3)]
    items = [{"image": str(saved(array, tmp_path / f"{n}.png"))} for n, array in enumerate(pixels)]
    load = LoadImaged("image", reader=RasterReader(), ensure_channel_first=True)
    options: dict[str, Any] = {"output_ext": ".png", "output_postfix": "dn", "separate_folder": False}
    save = SaveImaged("image", output_dir=tmp_path / "out", writer=RasterWriter, print_log=False, **options)
    for batch in DataLoader(Dataset(items, load), batch_size=3):
        for item in decollate_batch(batch):
            save(item)
    for n, array in enumerate(pixels):
        with Image.open(tmp_path / "out" / f"{n}_dn.png") as written:
            assert written.mode == ("L" if dtype == np.uint8 else "I;16")
            np.testing.assert_array_equal(np.asarray(written), array)


@pytest.mark.parametrize("axcodes", ["RA", "LP", "AL", "PR", "PL"])
@pytest.mark.parametrize("resample", [True, False])
def test_a_turned_image_is_written_as_it_was(axcodes: str, resample: bool, tmp_path: Path) -> None:
    path = saved(greys(), tmp_path / "a.png")
    load = LoadImaged("image", reader=RasterReader(), ensure_channel_first=True)
    image = Compose([load, Orientationd("image", axcodes=axcodes, labels=None)])({"image": str(path)})["image"]
    writer = RasterWriter(DERIVATION)
    writer.set_data_array(image)
    writer.set_metadata(image.meta, resample=resample)
    writer.write(tmp_path / "b.png")
    np.testing.assert_array_equal(read_raster(tmp_path / "b.png")[0], greys().T)


def written(values: Any, path: Path, bits: int | None = 8, derivation: Derivation = DERIVATION, **options: Any) -> Path:
    writer = RasterWriter(derivation, **options)
    writer.set_data_array(np.asarray(values, np.float32)[None])
    writer.set_metadata({} if bits is None else {"raster_bits": bits}, resample=False)
    writer.write(path)
    return path


@pytest.mark.parametrize("bits", [8, 16])
def test_values_are_rounded_and_cut_with_one_warning(
    bits: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    most = 2**bits - 1
    given = [[-40.0, -0.4, 1.6, most + 0.4, most + 1.0, 3.0 * most]]
    with caplog.at_level(logging.WARNING):
        values, depth = read_raster(written(given, tmp_path / "a.png", bits))
    assert depth == bits and values.tolist() == [[0, 0, 2, most, most, most]]
    (warning,) = [record.getMessage() for record in caplog.records]
    assert f"a.png: 3 of 6 pixels lie outside 0 to {most} (from -40 to {3 * most:g}) and are cut" in warning
    caplog.clear()
    written([[-0.4, most + 0.4]], tmp_path / "b.png", bits)
    assert not caplog.records


def test_the_file_says_what_was_done(tmp_path: Path) -> None:
    with Image.open(written([[1, 2]], tmp_path / "a.png")) as image:
        assert image.text == {
            "Software": f"monai_cdiff {DERIVATION.version}",
            "Description": "denoised",
            "Comment": "seed=0; sampler=DDIMScheduler",
            "Warning": "Synthetic content: detail is inferred, not measured. Research only, not for diagnosis.",
        }
    plain = Derivation("geschärft für π", "x", synthetic=False, software="mine", version="2")
    with Image.open(written([[1, 2]], tmp_path / "b.png", derivation=plain)) as image:
        assert image.text["Description"] == "geschärft für π" and image.text["Software"] == "mine 2"
        assert image.text["Warning"] == "Research only, not for diagnosis." and "Comment" not in image.text


@pytest.mark.parametrize(("bits", "factor"), [(8, 256), (16, 1)])
def test_a_map_of_spreads_keeps_its_detail(bits: int, factor: int, tmp_path: Path) -> None:
    spread = Derivation("std of 8 samples", "std", {"seed": 0}, quantity="standard deviation")
    path = written([[0.25, 1.5, 60.0]], tmp_path / "a.png", bits, spread)
    values, depth = read_raster(path)
    assert depth == 16 and values.tolist() == [np.rint(np.multiply([0.25, 1.5, 60], factor)).tolist()]
    with Image.open(path) as image:
        assert image.text["Comment"] == f"pixel value={factor} x standard deviation; seed=0"


def test_the_depth_is_a_choice(tmp_path: Path) -> None:
    writer = RasterWriter(bits=16)
    writer.set_data_array(np.full((2, 3), 300), channel_dim=None)
    writer.write(tmp_path / "a.png")
    values, bits = read_raster(tmp_path / "a.png")
    assert bits == 16 and values.shape == (2, 3) and np.unique(values) == [300]
    with pytest.raises(ValueError, match="holds no raster_bits: the image did not come from RasterReader; give bits"):
        written([[300]], tmp_path / "b.png", None)
    for bits in (12, 32, "8"):
        with pytest.raises(ValueError, match=f"bits={bits!r} must be"):
            RasterWriter(bits=bits)  # type: ignore[arg-type]


def test_nothing_is_written_that_is_wrong_or_there(tmp_path: Path) -> None:
    for value in (np.nan, np.inf):
        with pytest.raises(ValueError, match="a.png: the image holds NaN or infinite pixels"):
            written([[1, value]], tmp_path / "a.png")
    with pytest.raises(ValueError, match="the name must end in .png"):
        written([[1]], tmp_path / "a.jpg")
    assert not list(tmp_path.iterdir())
    path = written([[1]], tmp_path / "a.png")
    before = path.read_bytes()
    with pytest.raises(FileExistsError, match="a.png exists"):
        written([[2]], path)
    assert path.read_bytes() == before
    assert read_raster(written([[2]], path, overwrite=True))[0] == 2
    assert [file.name for file in tmp_path.iterdir()] == ["a.png"]
    for shape, sentence in [((2, 4, 3), "has 2 channels"), ((1, 4, 3, 2), "has 3 spatial axes")]:
        with pytest.raises(ValueError, match=sentence):
            RasterWriter().set_data_array(np.zeros(shape))


def test_real_chest_x_rays(shared_data: Path, tmp_path: Path) -> None:
    folder = shared_data / "kermany_chest_xray_224" / "test"
    files = sorted(folder.rglob("*.jpeg"))[::100]
    assert files
    for n, file in enumerate(files):
        values, bits = read_raster(file)
        assert bits == 8 and values.shape == (224, 224)
        np.testing.assert_array_equal(values, np.asarray(Image.open(file))[..., 1].T)
        np.testing.assert_array_equal(read_raster(written(values, tmp_path / f"{n}.png"))[0], values)
