"""How a map is made: the frozen `MapConfig`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator


class MapConfig(BaseModel):
    """How an area is cut, predicted and written. No field changes what a network has learnt."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    window_px: Annotated[int, Field(gt=0)] | Literal["auto"] | None = None
    """Side of the square that the network sees at once, pixels of the map. None: the size that the
    bundle was trained on, made a multiple of the alignment unit. `auto`: that size or two to four
    times it, whichever takes the least time of those that fit in memory, by a trial. Chosen once:
    whoever joins or resumes the run takes the same."""
    overlap_px: int | None = Field(default=None, ge=0)
    """How far neighbouring windows overlap, pixels of the map. None: a quarter of the window (with
    `window_px=auto` of the smallest that it may choose), made a multiple of the alignment unit."""
    block_px: int | None = Field(default=None, gt=0, multiple_of=512)
    """Side of the square that is computed and stored at once, output pixels. Sets memory and what
    is lost when a run is killed, never the result. None: chosen from the inputs, at most 4096."""
    batch_size: int | None = Field(default=None, gt=0)
    """Windows per pass through the network. None: 8 on a GPU, 1 on a CPU, which gains nothing from
    more and pays for the fresh memory that large batches take each time."""
    device: str = "auto"
    """`auto` (a GPU if there is one), `cpu`, `cuda`, `cuda:1`."""
    backend: Literal["torch", "onnxruntime", "openvino"] = "torch"
    """What runs the network. `onnxruntime` and `openvino` run on CPUs, from an ONNX file that is
    made when the run starts."""
    precision: Literal["float32", "bf16"] = "float32"
    """Number format of the network's arithmetic; blending is always in float32. ONNX Runtime knows
    float32 only."""
    confidence: bool = True
    """Also write the probability of the chosen class."""
    entropy: bool = False
    """Also write how undecided the network is: the entropy of its probabilities, as a share of the
    largest possible."""
    probabilities: tuple[str, ...] = ()
    """Names of classes whose probabilities are written, one band each; `all` for all of them."""
    coverage: bool = True
    """Also write which sensors cover each pixel, where the network has more than one."""
    d4: bool = False
    """Average the network's answers over the eight flips and rotations of each window: eight times
    the work."""
    compile: bool = False
    """Let torch compile the network: minutes at the start, faster afterwards."""
    workers: int | None = Field(default=None, gt=0)
    """Processes that map blocks, each with its own network. None: one per GPU, one on a CPU, whose
    cores one network uses all."""
    year: int | None = Field(default=None, ge=1900, le=2200)
    """Campaign year, from whose 15 May the days of a series count. None: the median year of the
    dates."""
    check_values: bool = True
    """Refuse sources whose bands are named in another order, or whose numbers are of another scale,
    than what the network has learnt from."""
    overwrite: bool = False
    """Replace a map that stands in the output folder, and forget blocks of an earlier run."""
    crs: str | None = None
    """CRS of the map, in metres, such as EPSG:2154. None: the finest sensor's, whose pixels it then
    has."""
    resolution_m: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    """Pixel size of a map on a grid of its own, metres: the network's or a whole multiple of it.
    Larger pixels show the mean of the network's probabilities on their ground. None: the finest
    sensor's pixels, or with `crs` the network's."""
    bounds: tuple[float, float, float, float] | None = None
    """Left, bottom, right, top of the map in its CRS, widened to whole pixels. None: the ground of
    the finest sensor."""
    aoi: str | None = None
    """Vector file, and its layer behind a colon, with the polygons to map. Elsewhere is nodata."""
    missing_tiles: Literal["stop", "report"] = "stop"
    """What a tile of many that is missing or cannot be read is: the end of the run, or ground
    without data, listed among the report's warnings. Of no effect, and told to be, where every
    source is one file."""

    @model_validator(mode="after")
    def _backend_can(self) -> MapConfig:
        if self.backend != "torch" and self.device not in ("auto", "cpu"):
            raise ValueError(
                f"backend={self.backend} runs on CPUs, not on device={self.device}; use "
                "backend=torch, or device=cpu"
            )
        if self.backend != "torch" and self.compile:
            raise ValueError(
                f"compile=true is for backend=torch; {self.backend} compiles by itself"
            )
        if self.backend == "onnxruntime" and self.precision == "bf16":
            raise ValueError(
                "backend=onnxruntime has no bf16 arithmetic on CPUs; use precision=float32, or "
                "backend=openvino"
            )
        return self
