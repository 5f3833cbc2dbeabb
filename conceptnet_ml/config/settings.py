"""Every setting. ``--depth`` is the main one; the others have defaults that serve every case.

Needs no torch: the command line reads this module for ``--help`` and ``config show``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    field_validator,
    model_serializer,
    model_validator,
)

from conceptnet_ml.errors import DataError

Side = Annotated[int, Field(ge=8, le=1024)]
"""Of an image, in px."""


WEIGHT_FILES = (".safetensors", ".pt", ".pth")
"""Endings of files of weights."""

RATES = {"sgd": (0.1, 0.03), "adamw": (2e-3, 2e-4)}
"""Of each optimizer the peak learning rates from fresh and from trained weights, where none is given."""

DECAYS = {"sgd": 5e-4, "adamw": 0.05}
"""Of each optimizer the weight decay, where none is given."""


class SettingsGroup(BaseModel):
    """A group of settings: unknown names are refused, values are checked."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False)


class DataSettings(SettingsGroup):
    """The images and the cue in them."""

    source: str = Field("cars-and-poodles", description="data set, NAME or NAME:ARGUMENT, as in folder:PATH")
    classes: tuple[str, ...] | None = Field(
        None, description="names of the classes to use, in this order; default: all"
    )
    trap: str = Field(
        "none", description="cue planted in the training images: NAME, NAME:ARGUMENT or A+B; none for no trap"
    )
    exceptions: float = Field(
        0.0, ge=0, le=0.5, description="share of the training images whose cue shows another class; 0.01 for 1 %"
    )
    counted: bool = Field(
        False,
        description="count the exceptions out: the same share of every class, spread evenly over the other classes' "
        "cues, each trap's by itself; false: drawn over all training images, the same for all traps",
    )
    labels: Literal["first", "deepest", "path"] = Field(
        "first",
        description="folder that names an image's class: first, the one right below train, with all below it; deepest, "
        "the one that the image lies in; path, the same with all folders above it",
    )
    image_column: str | None = Field(
        None, description="column of a table that holds, or names, the images; default: found by its type or usual name"
    )
    label_column: str | None = Field(None, description="column of a table that holds the labels; default: likewise")
    split_column: str | None = Field(
        None, description="column of a CSV file that says train, val, test or another test set; default: likewise"
    )
    root: str | None = Field(None, description="folder of downloaded torchvision data sets")
    download: bool = Field(False, description="let torchvision download the data set")
    image_size: Side | tuple[Side, Side] | None = Field(
        None,
        description="side of the square images, or HEIGHT,WIDTH, in px; default: their own if all are equal, else 64",
    )
    skip_bad: bool = Field(False, description="leave unreadable images out instead of stopping")
    megapixels: float = Field(
        90.0,
        gt=0,
        le=178,
        description="most pixels of a picture's file, in millions; larger ones count as unreadable",
    )
    memory: float = Field(2.0, gt=0, description="GiB of images held on the device; larger data is streamed")
    test_share: float = Field(0.2, gt=0, lt=0.9, description="share split off where there is no test folder")
    holdout: float = Field(
        0.125, gt=0, lt=0.5, description="share of the training images kept out of training, for the decisions"
    )
    train_limit: int | None = Field(None, ge=8, description="use at most this many training images per class")
    minimum: int = Field(
        8,
        ge=0,
        description="fewest training images per class; 0: nothing is trained, a folder without a test part is all test",
    )
    target: str | None = Field(
        None,
        description="folder of pictures of the new world, without labels: they can have a swap kept that the rule "
        "refused, and tell how often the networks disagree there",
    )
    groups: str = Field(
        "none",
        description="groups of test images that are also judged by themselves: none, folders (those inside a class's "
        "folder), or a CSV file with the columns file and group",
    )

    @field_validator("target")
    @classmethod
    def _no_target(cls, target: str | None) -> str | None:
        return None if target == "none" else target


class NetworkSettings(SettingsGroup):
    """The network and its named stages."""

    backbone: str = Field("small", description="NAME, torchvision:MODEL, or module:callable")
    stages: tuple[str, ...] | None = Field(None, description="names of the stages; default: found automatically")
    weights: str | None = Field(
        None, description="weights to start from: a .safetensors or .pt file, or a name of torchvision's or timm's"
    )
    pretrained: bool = Field(False, description="the backbone brings trained weights of its own, as weights does")
    freeze: str | None = Field(
        None, description="stage up to which trained weights, and statistics of batch norms, stay as they are"
    )
    keep_statistics: bool = Field(
        True,
        description="batch norms of trained weights keep their running statistics in every training; false: they are "
        "those of the data, as from fresh weights",
    )
    normalise: bool = Field(
        True,
        description="images are normalised as ImageNet's are, unless the network brings input_mean and input_std; "
        "false: it takes them in [0, 1]",
    )

    @property
    def trained(self) -> bool:
        """Whether training goes on from trained weights."""
        return self.pretrained or self.weights is not None

    @property
    def weights_file(self) -> str | None:
        """The file of ``weights``; None where it is a name, or nothing."""
        return self.weights if self.weights is not None and self.weights.endswith(WEIGHT_FILES) else None


class TrainingSettings(SettingsGroup):
    """The training loop."""

    epochs: int = Field(16, ge=0, description="epochs of ordinary training; 0: trained weights are left as they are")
    head_epochs: int = Field(
        4,
        ge=0,
        description="epochs of what is past the last stage alone, before trained weights are gone on with; 0: none",
    )
    least_steps: int = Field(64, ge=0, description="fewest steps of a training or a round; epochs give way to it")
    batch: int = Field(128, ge=2, description="images per step")
    optimizer: Literal["sgd", "adamw"] = Field(
        "sgd", description="sgd with Nesterov momentum, or adamw, for networks without batch norms and for transformers"
    )
    rate: float = Field(
        RATES["sgd"][0],
        gt=0,
        description="peak learning rate of ordinary training; default: of sgd {:g}, from trained weights {:g}; of "
        "adamw {:g} and {:g}".format(*RATES["sgd"], *RATES["adamw"]),
    )
    warm_rate: float = Field(
        RATES["sgd"][0], gt=0, description="the same when a round goes on from the last network; defaults likewise"
    )
    momentum: float = Field(0.9, ge=0, lt=1, description="of sgd; adamw's are 0.9 and 0.999")
    weight_decay: float = Field(
        DECAYS["sgd"], ge=0, description=f"shrinks the weights; default of adamw {DECAYS['adamw']:g}"
    )
    clip: float = Field(
        1.0, ge=0, description="largest norm of the gradient of a step; a larger one is scaled down to it; 0: none is"
    )
    flip: bool = Field(True, description="random horizontal flips")
    shift: float = Field(0.0625, ge=0, lt=0.5, description="random shifts up to this share of the side")
    precision: Literal["auto", "fp32", "bf16", "fp16"] = Field(
        "auto", description="autocast type; auto: what the device does natively, unless fp32 is quicker"
    )
    memory_format: Literal["auto", "channels_last", "contiguous"] = Field(
        "auto", description="of images and maps; auto: CONCEPTNET_MEMORY_FORMAT, else what is quicker on the device"
    )
    save_seconds: float = Field(30.0, gt=0, description="seconds between checkpoints within a training")
    above_chance: bool = Field(True, description="stop where ordinary training ends no better than chance")


class ProbeSettings(SettingsGroup):
    """The probe: which part of a donor makes the network see the donor's class."""

    steps: int = Field(12, ge=1, description="Adam steps on the gate")
    rate: float = Field(1.0, gt=0, description="learning rate on the gate's logits")
    price: float = Field(8.0, ge=0, description="λ, the price of an open gate, where φ and ι are measured")
    view_price: float = Field(15.0, ge=0, description="λ for the gates of the training views; dearer, so tighter")
    view_steps: int = Field(12, ge=1, description="Adam steps for the gates of the training views")
    dreamt: int = Field(
        256,
        ge=0,
        description="images per class whose gates are dreamt, up to 4,096 in all, to predict the rest; 0: every image",
    )
    cells: int = Field(16, ge=2, description="cells of the gate along the image's side")
    threshold: float = Field(0.5, gt=0, lt=1, description="gate value from which a cell counts as open")
    grow: float = Field(0.032, ge=0, description="how far open cells are grown before training, as a share of the side")
    batch: int = Field(256, ge=1, description="images probed at a time")
    partners: int = Field(
        9,
        ge=1,
        description="most classes whose donors an image meets in a probe: those its class is most often taken for",
    )


class RoundSettings(SettingsGroup):
    """Rounds: views, budget and the decision to keep or to undo."""

    limit: int = Field(4, ge=0, description="most rounds at one stage")
    epochs: int = Field(30, ge=1, description="passes over the training images' views per round")
    mix: float = Field(0.0, ge=0, le=1, description="share of original images among the views")
    again: float = Field(
        0.5, ge=0, le=1, description="share of a transplant's views in which a second donor gives what it has, too"
    )
    interchangeable: float = Field(
        0.53, description="ι less imperfection × errors, from which a place-gated round is kept"
    )
    later: float = Field(
        0.12, description="by how much more it must be where anything was exchanged before: what is left is the object"
    )
    first: float = Field(
        0.35,
        description="ι less errors of a swap of the whole image that decides in part, from which places give way to it",
    )
    imperfection: float = Field(
        10.0, ge=0, description="weight of the held-out error rate against ι: a shortcut fits perfectly"
    )
    decisive: float = Field(0.8, description="flip-rate contrast from which a global swap is kept")
    narrow: float = Field(
        0.3,
        ge=0,
        le=1,
        description="most of a channel gate that may be open where the channels hold the image as a whole",
    )
    partly: float = Field(
        0.35,
        description="contrast less imperfection × errors, from which a swap of the whole image is kept all the same",
    )
    technical: float = Field(
        0.1,
        description="by how much contrast must exceed what nature gives two classes, for a swap of how pictures were "
        "taken and stored to be kept",
    )
    reads: float = Field(
        0.75,
        description="share above chance of the images that a network trained to read a cue with exceptions alone "
        "must tell, to be asked where the rule keeps nothing or errors keep it from deciding; above 1 for never",
    )
    certain: float = Field(
        0.7,
        description="share of the images that contradict it of which it must be sure, by .95 of its answer",
    )
    read: float = Field(
        0.35, description="ι of places, or flip-rate contrast, from which what changes its answers is exchanged"
    )
    flips: float = Field(0.2, ge=0, le=1, description="flip rate under which there is no decision and no round")
    remains: float = Field(
        0.25, ge=0, le=1, description="share of r above chance that must remain, else the round is undone"
    )
    inverted: float = Field(
        0.05,
        ge=0,
        description="by how much views may be answered better than the images unswapped; more undoes a round",
    )
    closures: int = Field(
        2, ge=0, description="how often a swap may be widened by what a fresh network still finds; 0 for no check"
    )
    fresh: int = Field(3, ge=1, description="epochs of the fresh network that checks whether a feature is generalized")
    spares: float = Field(
        0.5, ge=0, le=1, description="share of r above chance a widened swap must leave, else its round is given up"
    )
    closed: float = Field(0.5, description="ι less twice the errors of the fresh network, from which a swap is widened")
    purify: int = Field(2, ge=0, description="how often place gates are purified of the object; 0 for never")
    unread: float = Field(
        0.3,
        ge=0,
        le=1,
        description="by how much less often the probed network may answer by what purified gates take over than "
        "by what those of before do, which are kept else",
    )
    cue: int = Field(5, ge=1, description="epochs of a network that sees only what the gates take over, to purify them")
    places: float = Field(
        0.08,
        ge=0,
        description="ι of the places that images have in common, for the round's network, less four times what r fell: "
        "from here on a part of the cue is left there, and all of them are opened; over 1 for never",
    )
    fills: float = Field(
        0.5,
        ge=0,
        le=1,
        description="largest share of an image that places which images have in common may take up, to be opened in "
        "all: where a scene or an object in the middle is asked for, more is open",
    )
    outside: bool = Field(
        True, description="exchange what lies outside place gates where the class hangs on that, as on a background"
    )
    rest: float = Field(
        0.14,
        ge=0,
        le=1,
        description="share above chance of the views whose answer must go with what is outside widened gates, for that",
    )
    keep: tuple[str, ...] = Field(
        (),
        description="what to exchange whatever the rule says, ROUND/REPRESENTATION: block3/classes/2/pixels; one side "
        "of its gates: block3/classes/2/pixels:outside, or :inside",
    )
    undo: tuple[str, ...] = Field(
        (), description="rounds to undo whatever the rule says: block3/classes/2; a part: block3/classes/2/pixels"
    )
    exchange: str | None = Field(
        None,
        description="place of the image to exchange in the first round, whatever the rule says: as inspect names it, "
        "bottom,right or border, or a box LEFT,TOP,RIGHT,BOTTOM in shares of width and height, as in 0.7,0.85,1,1; "
        "several joined by +",
    )
    show_refused: bool = Field(
        False, description="train the first refused round all the same and show its figures, too"
    )

    @field_validator("exchange")
    @classmethod
    def _no_place(cls, exchange: str | None) -> str | None:
        return None if exchange == "none" else exchange


class ConceptSettings(SettingsGroup):
    """Find, generalize, specialize, descend."""

    probe_images: int = Field(2048, ge=16, description="class-balanced images on which units are judged")
    auc: float = Field(0.7, ge=0.5, le=1, description="AUROC from which a unit can belong to a class's feature")
    coverage: float = Field(0.8, gt=0, le=1, description="share of the summed effect a feature's units must cover")
    knows: float = Field(
        0.25, ge=0, lt=1, description="how far from chance to always right an answer must be to rest on anything"
    )
    directions: int | None = Field(
        None,
        ge=2,
        description="directions of a stage to be learned; default: by the discoverer, from the number of units",
    )
    active: int = Field(8, ge=1, description="directions a sparse autoencoder may use at one place")
    confirm: int = Field(32, ge=1, description="units per class whose effect is confirmed by real ablation")
    merge_images: int = Field(1024, ge=16, description="class-balanced images a detector is trained and judged on")
    own_price: float = Field(8.0, ge=0, description="λ of the probe for a feature's own places, against logits")
    temperature: float = Field(1.0, gt=0, description="τ, how sharply a variant looks where the detector fires")
    edge_groups: int = Field(
        8, ge=1, description="groups of units whose paths in integrated gradients are taken one after the other"
    )
    edge_points: int = Field(1, ge=1, description="midpoints of integrated gradients on each group's path")
    edges: int = Field(12, ge=1, description="edges kept per variant, the strongest")
    bootstrap: int = Field(200, ge=10, description="resamples behind each edge's interval")


class DreamSettings(SettingsGroup):
    """Pictures of what the network sees."""

    witness: bool = Field(
        True,
        description="where a round is kept, judge dreams by a second network, trained like the ordinary one from other "
        "weights",
    )
    steps: int | None = Field(None, ge=1, description="most steps of each dream of a node; default: the dreamer's own")
    megapixels: float = Field(
        2.0,
        ge=0,
        description="most pixels of all dreams of a run's nodes; beyond them units go without, then dreams on images",
    )


class PluginSettings(SettingsGroup):
    """Which plugin supplies which step."""

    representations: tuple[str, ...] = Field(
        ("colour", "exposure", "sharpness", "fourier", "blocks", "waves", "pixels"),
        description="representations that the learner may choose from",
    )
    discoverer: str = Field("units", description="the find step")
    stop_rule: str = Field("interchangeable", description="the rule that keeps or refuses a swap before training")
    generalizer: str = Field("detector", description="the generalize step")
    specializer: str = Field("attention", description="the specialize step")
    dreamer: str = Field("fourier", description="free dreams for the pictures of a feature; none for no dreams")
    controls: tuple[str, ...] = Field(("random-box",), description="baselines trained beside it at equal compute")
    loggers: tuple[str, ...] = Field((), description="where figures go beside metrics.jsonl while it runs")


class Settings(SettingsGroup):
    """All settings of a run."""

    depth: int = Field(1, ge=1, description="how many stages to work through, from the top")
    seed: int = Field(0, ge=0, description="every random choice derives from it")
    device: str = Field("auto", description="auto, cpu, cuda or cuda:N")
    data: DataSettings = DataSettings()
    network: NetworkSettings = NetworkSettings()
    training: TrainingSettings = TrainingSettings()
    probe: ProbeSettings = ProbeSettings()
    round: RoundSettings = RoundSettings()
    concepts: ConceptSettings = ConceptSettings()
    dreams: DreamSettings = DreamSettings()
    plugins: PluginSettings = PluginSettings()
    plugin: dict[str, dict[str, Any]] = Field(
        {}, description="settings that plugins declare, by the record's name; checked where plugins are loaded"
    )

    @field_validator("plugin")
    @classmethod
    def _lists_as_tuples(cls, plugin: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        """As every other setting has them."""
        return {
            name: {field: tuple(value) if isinstance(value, list) else value for field, value in own.items()}
            for name, own in plugin.items()
        }

    @model_serializer(mode="wrap")
    def _without_empty(self, serialise: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Runs without such settings are stored as they were before there were any."""
        values: dict[str, Any] = serialise(self)
        return values if values.get("plugin") else {name: one for name, one in values.items() if name != "plugin"}

    @model_validator(mode="after")
    def _defaults_of_the_optimizer(self) -> Settings:
        """Rates and decay that are not given are the optimizer's, from trained weights those of fine-tuning."""
        training = self.training
        rate = RATES[training.optimizer][self.network.trained]
        found = {"rate": rate, "warm_rate": rate, "weight_decay": DECAYS[training.optimizer]}
        found = {name: value for name, value in found.items() if name not in training.model_fields_set}
        # frozen for everyone else: this is the last step of its making
        object.__setattr__(self, "training", training.model_copy(update=found))
        return self

    @classmethod
    def of_run(cls, stored: Mapping[str, Any], path: object = "settings.json") -> Settings:
        """The settings that a run folder holds. What the version that wrote them did not do yet is off, so that the
        run's finished steps go on fitting to each other; what is no longer asked for is left out. Raises DataError,
        which names the file ``path``, where they are not those of a run.
        """
        before: dict[str, dict[str, float]] = {
            "round": {
                "purify": 0,
                "unread": 1.0,
                "again": 0,
                "places": 9.0,
                "outside": False,
                "partly": 1.0,
                "technical": 9.0,
                "later": 0,
                "first": 2.0,
                "fills": 1.0,
                "rest": 0.2,
                "reads": 9.0,
            },
            "training": {"least_steps": 0, "clip": 0, "above_chance": False, "head_epochs": 0},
            "network": {"keep_statistics": False},
        }
        gone = {"round": {"alone"}}
        groups = {name: stored.get(name, {}) for name in before}
        try:
            filled = {
                name: {**before[name], **{one: value for one, value in given.items() if one not in gone.get(name, ())}}
                if isinstance(given, dict)
                else given
                for name, given in groups.items()
            }
            return cls.model_validate({**stored, **filled})
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            name = ".".join(str(part) for part in first["loc"])
            if first["type"] == "extra_forbidden":
                raise DataError(
                    f"{path}: this program has no setting '{name}'",
                    "The run was made by another version, whose package is named there, or the file was changed.",
                ) from error
            raise DataError(
                f"{path} is damaged: {name}: {first['msg']}", "Restore the file, or start a new run."
            ) from error
