"""The network: tensors in, tensors out, for any subset of its sensors; and the file it lives in."""

from bocage.models.bundle import (
    Bundle,
    BundleClass,
    BundleMeta,
    BundleTask,
    bundle_names,
    load_bundle,
    read_meta,
    refuse_other_inputs,
    save_bundle,
)
from bocage.models.config import NetworkConfig, TaskHead
from bocage.models.decoders import DECODERS, AuxiliaryConfig, DecoderConfig
from bocage.models.encoders import ENCODERS, EncoderConfig
from bocage.models.fusion import FUSIONS, FusionConfig
from bocage.models.inputs import InputConfig, Preparation
from bocage.models.kinds import (
    AnyNetwork,
    AnyNetworkConfig,
    build_network,
    complete_input,
    kind_of,
)
from bocage.models.network import Network, NetworkOutput
from bocage.models.start import Start, start_from
from bocage.models.temporal import TemporalConfig

__all__ = [
    "DECODERS",
    "ENCODERS",
    "FUSIONS",
    "AnyNetwork",
    "AnyNetworkConfig",
    "AuxiliaryConfig",
    "Bundle",
    "BundleClass",
    "BundleMeta",
    "BundleTask",
    "DecoderConfig",
    "EncoderConfig",
    "FusionConfig",
    "InputConfig",
    "Network",
    "NetworkConfig",
    "NetworkOutput",
    "Preparation",
    "Start",
    "TaskHead",
    "TemporalConfig",
    "build_network",
    "bundle_names",
    "complete_input",
    "kind_of",
    "load_bundle",
    "read_meta",
    "refuse_other_inputs",
    "save_bundle",
    "start_from",
]
