"""A CNN as named stages: run up to a stage, on from a stage, and between two."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn import functional
from torch.nn.modules.lazy import LazyModuleMixin

from conceptnet_ml.errors import SettingsError, nearest
from conceptnet_ml.network.answers import steady_answers
from conceptnet_ml.network.fx_route import FxRoute
from conceptnet_ml.network.hook_route import HookRoute, hooked
from conceptnet_ml.network.modes import eval_mode, versioned
from conceptnet_ml.network.stages import LEAST_REACH, Cut, Route, Stage, choose_stages, reach
from conceptnet_ml.runtime import layout
from conceptnet_ml.runtime.layout import arranged

MEAN = (0.485, 0.456, 0.406)

STD = (0.229, 0.224, 0.225)
"""Mean and standard deviation of photographs (ImageNet), the usual normalisation; a network may bring its own."""

LUMA = (0.299, 0.587, 0.114)
"""Shares of red, green and blue in grey, as Pillow and ITU-R BT.601 have them."""

TINY = torch.finfo(torch.float32).tiny
"""Nothing beside a variance, to the bit; not every torch takes an eps of 0 (2.11 does not)."""


fx.wrap("arranged")  # so that a graph asks for the memory format when it runs


@fx.wrap
def normalised(images: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """``(images − mean) / std``, channel by channel; of coloured images the luma, where a network takes one channel."""
    if mean.shape[1] == 1 and images.shape[1] == len(LUMA):
        images = (images * images.new_tensor(LUMA).view(1, -1, 1, 1)).sum(1, keepdim=True)
    if images.requires_grad:
        return (images - mean).mul_(std.reciprocal())  # half the time of addcmul, whose numbers are all full-sized
    # An inference-mode batch norm does it in one pass over memory, three times as fast; its backward pass is slow.
    return functional.batch_norm(images, mean.flatten(), std.flatten().square(), eps=TINY)


class StagedNetwork(nn.Module):
    """A classifier that can be run in parts, at its named stages. Stage 0, the image, is not listed.

    The parts share the classifier's weights and modes, are differentiable, and together give exactly what the whole
    gives. The state dict is the classifier's, each name after ``model.``, plus ``mean`` and ``std``.

    Args:
        model: Maps normalised (B, 3, H, W) floats to logits (B, classes). In-place activations are switched off in it.
        image_size: Height and width of the images in px; stages are found for this size.
        stages: Names of the stages to use; None finds them: the last place of each resolution.
        mean, std: The normalisation, one number per channel. By default the module's own attributes ``input_mean`` and
            ``input_std`` where it has them, else :data:`MEAN` and :data:`STD`, and none for other than three channels.
        classes: Names of the classes; where given, the logits must have as many columns.

    Attributes:
        narrow: Whether a convolution has few channels, or the network takes contiguous memory alone; see
            :func:`conceptnet_ml.runtime.layout.is_narrow`.

    Raises:
        SettingsError: The network cannot take such images, has other logits, has no stage, or not the one asked for.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        model: nn.Module,
        image_size: tuple[int, int],
        stages: Sequence[str] | None = None,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        classes: Sequence[str] = (),
        normalise: bool = True,
    ) -> None:
        super().__init__()
        model = plain(model)
        settle_lazy(model, image_size)
        first = next(model.parameters(), torch.empty(0))
        if first.is_floating_point() and first.dtype != torch.float32:
            raise SettingsError(f"the network's weights are {first.dtype}", "Give a network with float32 weights.")
        if any(value.is_meta for value in model.parameters()):
            raise SettingsError("the network's weights are on the device meta: without values", "Give it on the CPU.")
        self.model = model
        self._settled: tuple[str, ...] = ()  # batch norms that stay as they are
        self.image_size = (int(image_size[0]), int(image_size[1]))
        self.classes = tuple(classes)
        generator = torch.Generator().manual_seed(0)
        refused: SettingsError | None = None
        for count in _channel_counts(model, mean):
            usual = (MEAN, STD) if normalise and count == len(MEAN) else ((0.0,) * count, (1.0,) * count)
            chosen = (getattr(model, f"input_{name}", usual[place]) for place, name in enumerate(("mean", "std")))
            for name, given, values in zip(("mean", "std"), (mean, std), chosen, strict=True):
                numbers = torch.tensor(values if given is None else given, dtype=torch.float32, device=first.device)
                self.register_buffer(name, numbers.view(1, -1, 1, 1))
            example = torch.rand(2, self.mean.shape[1], *self.image_size, generator=generator).to(first.device)
            self.narrow = layout.is_narrow(model)
            try:
                self._check_layouts(example)
                break
            except SettingsError as error:
                refused = refused or error
        else:
            assert refused is not None
            raise refused
        self.channels = self.mean.shape[1]
        """Channels of the images: as many as the network takes, three if it can; see :meth:`for_images`."""
        self.training_error = self._try_training(example)
        """Why it cannot be run in training mode, in a line; empty where it can."""
        self._route, cuts = self._find_route(example)
        if not choose_stages(cuts, self.image_size):
            steady_answers(self, example)  # else nothing it passes through seems to be what its answer comes from
        self.stages = self._stages(cuts, stages)
        self._overwritten = frozenset(stage.name for stage in self.stages if self._overwrites(example, stage.name))

    def for_images(self, channels: int) -> StagedNetwork:
        """The network itself, for images of so many channels. A network of one channel takes coloured images, too:
        their luma. Raises SettingsError where it takes others.
        """
        own = self.mean.shape[1]
        if own not in (1, channels):
            raise SettingsError(
                f"the network takes images of {own} channels, these have {channels}",
                "Give a network whose first layer takes as many channels.",
            )
        self.channels = channels
        return self

    @property
    def stage_names(self) -> tuple[str, ...]:
        """Names of the stages from input to output."""
        return tuple(stage.name for stage in self.stages)

    def unstaged(self) -> list[str]:
        """Modules with weights above the top stage that make maps: no stage, since what is below is used again above
        them, even if only its size, or since maps grow there. Cost: two passes of one image.
        """
        example, calls = torch.zeros(2, self.mean.shape[1], *self.image_size).to(self.mean.device), list[str]()
        below = reach(self._find_route(example)[1], self.stages[-1])

        def note(path: str, module: nn.Module, output: Any) -> None:
            if next(module.parameters(recurse=False), None) is not None:
                maps = isinstance(output, Tensor) and output.ndim == 4 and min(output.shape[2:]) > 1
                calls.append(path if maps else "")

        with torch.no_grad(), eval_mode(self), hooked(self, note):
            self(example)
        return [path for path in calls[round(below * len(calls)) :] if path]

    def stage(self, name: str) -> Stage:
        """The stage of this name.

        Raises:
            SettingsError: There is none.
        """
        for stage in self.stages:
            if stage.name == name:
                return stage
        raise SettingsError(f"the network has no stage '{name}'", nearest(name, self.stage_names))

    def freeze(self, stage: str) -> None:
        """From now on no training changes this stage's maps of an image: what leads up to it keeps its weights, which
        need no gradient, and its batch norms stay in evaluation mode. Random draws there, as of a dropout, remain.

        Raises:
            SettingsError: There is no such stage.
        """
        name = self.stage(stage).name
        example = torch.rand(2, self.channels, *self.image_size, device=self.mean.device)
        ran: list[tuple[str, nn.Module]] = []
        parameters = [one for one in self.parameters() if one.requires_grad]
        watch = hooked(self, lambda path, module, _: ran.append((path, module)))
        with eval_mode(self), torch.enable_grad(), watch:
            maps = self.run_until(example, name)
            slopes = torch.autograd.grad(maps.sum(), parameters, allow_unused=True)
        for parameter, slope in zip(parameters, slopes, strict=True):
            parameter.requires_grad_(slope is None)
        self._keep(path for path, module in ran if getattr(module, "track_running_stats", False))

    def keep_statistics(self) -> None:
        """From now on all batch norms stay in evaluation mode, and keep their running statistics, in every training."""
        parts = self.model.named_modules()
        self._keep(path for path, module in parts if getattr(module, "track_running_stats", False))

    def train(self, mode: bool = True) -> StagedNetwork:
        """As of any module, but batch norms that are to stay as they are stay in evaluation mode."""
        super().train(mode)
        self._settle()
        return self

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        """As of any module; tensors that come without versions of their modules are taken for those of today."""
        return super().load_state_dict(versioned(self, state_dict), strict, assign)

    def _keep(self, paths: Iterable[str]) -> None:
        self._settled = tuple(dict.fromkeys((*self._settled, *paths)))
        self._settle()

    def _settle(self) -> None:
        for path in self._settled:
            self.model.get_submodule(path).eval()

    def forward(self, images: Tensor) -> Tensor:
        """Logits (B, classes) of images (B, 3, H, W), floats in [0, 1]."""
        # Normalised first: channel by channel this is quick on whole planes and slow in channels_last.
        return self.model(arranged(normalised(images, self.mean, self.std), self.narrow))

    def run_until(self, images: Tensor, stage: str) -> Tensor:
        """Maps (B, C, h, w) of a stage; nothing beyond it is computed."""
        return self._run(images, None, self.stage(stage).name)

    def run_from(self, maps: Tensor, stage: str) -> Tensor:
        """Logits (B, classes) of the maps (B, C, h, w) of a stage, which stay as they are; nothing before it is
        computed."""
        return self._run(self._protected(maps, stage), stage, None)

    def run_between(self, maps: Tensor, from_stage: str, to_stage: str) -> Tensor:
        """Maps of a later stage from the maps of an earlier one.

        Raises:
            ValueError: The stages are not in this order.
        """
        order = self.stage_names.index(self.stage(to_stage).name) - self.stage_names.index(self.stage(from_stage).name)
        if order < 0:
            raise ValueError(f"stage '{from_stage}' comes after stage '{to_stage}'")
        return maps if order == 0 else self._run(self._protected(maps, from_stage), from_stage, to_stage)

    def run_all(self, images: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        """The maps of every stage and the logits, at the cost of one forward pass."""
        maps: dict[str, Tensor] = {}
        value, start = images, None
        for name in self.stage_names:
            maps[name] = self._run(value, start, name)
            value, start = self._protected(maps[name], name), name
        return maps, self._run(value, start, None)

    def _run(self, value: Tensor, start: str | None, end: str | None) -> Tensor:
        """As a route runs it, from and to maps (B, C, h, w)."""
        if start is not None and self.stage(start).channels_last:
            value = value.permute(0, 2, 3, 1).contiguous()  # which copies nothing where they lie in memory like this
        value = self._route.run(self, value, start, end)
        return value.permute(0, 3, 1, 2) if end is not None and self.stage(end).channels_last else value

    def _protected(self, maps: Tensor, stage: str) -> Tensor:
        """The maps, or a copy where what follows the stage works in place on them or needs them contiguous."""
        if layout.memory_format(maps.device, self.narrow) is torch.contiguous_format:
            maps = maps.contiguous()
        return maps.clone() if self.stage(stage).name in self._overwritten else maps

    def _overwrites(self, example: Tensor, stage: str) -> bool:
        """Whether what follows a stage works in place on its maps."""
        with eval_mode(self):
            maps = self._run(example, None, stage).clone()
            version = maps._version
            self._run(maps, stage, None)
        return maps._version != version

    def _check_layouts(self, example: Tensor) -> None:
        """Try the network in the memory format it will have, and where it cannot be run so, in contiguous memory."""
        layout.to_device(self, example.device)
        try:
            self._check(example)
            if not self.narrow:  # as it may be on another device; narrow convolutions are not tried so
                with eval_mode(self):
                    self.model(normalised(example, self.mean, self.std).contiguous(memory_format=torch.channels_last))
        except Exception:
            self.narrow = "always"
            layout.to_device(self, example.device)
            self._check(example)

    def _try_training(self, example: Tensor) -> str:
        """Run it once in training mode, and leave it as it was. Where it returns several outputs then, such as those of
        auxiliary classifiers, the first is taken from now on.
        """
        modes = [(part, part.training) for part in self.modules()]
        buffers = {name: value.clone() for name, value in self.named_buffers()}
        self.train()
        try:
            with torch.enable_grad(), torch.random.fork_rng(devices=[]):
                output = self(example)
                if not isinstance(output, Tensor):
                    self.model.register_forward_hook(_first_output)
                    output = self(example)
            if not isinstance(output, Tensor):
                return f"it returns {type(output).__name__}"
            if not any(value.requires_grad for value in self.parameters()):
                return "none of its weights asks for a gradient (requires_grad)"
            return "" if output.requires_grad else "its answers have no gradient"
        except Exception as error:  # a user's network may raise anything
            return f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
        finally:
            for part, mode in modes:
                part.training = mode
            with torch.no_grad():
                for name, value in self.named_buffers():
                    if name in buffers and value.shape == buffers[name].shape:
                        value.copy_(buffers[name])

    def _check(self, example: Tensor) -> None:
        """Try the network, with in-place activations switched off if that changes nothing."""
        size = "×".join(str(side) for side in self.image_size)
        try:
            with eval_mode(self):
                logits = self(example)
                in_place = [part for part in self.model.modules() if getattr(part, "inplace", False) is True]
                for part in in_place:
                    part.inplace = False  # type: ignore[assignment]
                if in_place and isinstance(logits, Tensor) and not torch.equal(logits, self(example)):
                    for part in in_place:
                        part.inplace = True  # type: ignore[assignment]
        except (Exception, SystemExit) as error:  # a user's network may raise anything
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise SettingsError(
                f"the network cannot take images of {size} px: {reason}",
                "Set data.image_size to what it takes, or choose another network.backbone.",
            ) from error
        if not isinstance(logits, Tensor) or logits.ndim != 2 or len(logits) != len(example):
            what = f"a tensor {tuple(logits.shape)}" if isinstance(logits, Tensor) else type(logits).__name__
            raise SettingsError(
                f"the network returns {what} for {len(example)} images", "It must return logits, (images, classes)."
            )
        if self.classes and logits.shape[1] != len(self.classes):
            raise SettingsError(
                f"the network has {logits.shape[1]} outputs, but the data have {len(self.classes)} classes",
                "Let the backbone's callable take num_classes and build its last layer accordingly.",
            )
        if logits.isnan().any():
            raise SettingsError("the network answers with NaN", "Check its weights, and what it makes of its images.")

    def _find_route(self, example: Tensor) -> tuple[Route, list[Cut]]:
        traced = FxRoute()
        try:
            cuts = traced.cuts(self, example)
            if choose_stages(cuts, self.image_size):
                return traced, cuts
        except Exception:  # a network may do anything in what is made of its graph; hooks ask for less
            pass
        hooked = HookRoute(self.image_size)
        return hooked, hooked.cuts(self, example)

    def _stages(self, cuts: Sequence[Cut], wanted: Sequence[str] | None) -> tuple[Stage, ...]:
        found = choose_stages(cuts, self.image_size)
        if wanted is None:
            if not found:
                raise SettingsError(
                    "the network has no stages: no place with maps (B, C, h, w) of at least 2×2 cells that "
                    "everything passes through",
                    "Use larger images (data.image_size), or a network.backbone of convolutions without a way around.",
                )
            if (share := reach(cuts, found[-1])) < LEAST_REACH:
                raise SettingsError(
                    f"the network has no stages past its first layers: '{found[-1].name}' is the last place with maps "
                    f"(B, C, h, w) that everything passes through, and {share:.0%} of the layers with weights lead up "
                    "to it; the tokens of transformers are no maps",
                    "Choose a network with maps, as CNNs and Swin have them, larger images (data.image_size), or that "
                    f"place: network.stages={found[-1].name}.",
                )
            return tuple(found)
        places = {name: number for number, cut in enumerate(cuts) for name in cut.names}
        modules = {name for name, _ in self.model.named_modules() if name}
        unknown = next((name for name in wanted if name not in places), None)
        if unknown is not None:
            close = difflib.get_close_matches(unknown, places, n=3)
            why = f"the network has no module '{unknown}'"
            if unknown in modules:
                why = (
                    f"'{unknown}' cannot be a stage: its output is no map (B, C, h, w) that everything passes through "
                    "exactly once, such as the inside of a residual block"
                )
            suggestions = nearest(unknown, {*close, *(stage.name for stage in found)})
            raise SettingsError(f"network.stages: {why}", suggestions)
        chosen = sorted(dict.fromkeys(wanted), key=lambda name: places[name])
        at = [(name, cuts[places[name]]) for name in chosen]
        return tuple(cut.stage(name, self.image_size) or Stage(name, cut.shape[0], cut.shape[1:]) for name, cut in at)


def settle_lazy(model: nn.Module, image_size: tuple[int, int]) -> None:
    """Set the shapes of lazy layers by one forward pass; their weights are drawn by the global random state. Raises
    SettingsError where the network cannot take such images.
    """
    lazy = [part for part in model.modules() if isinstance(part, LazyModuleMixin) and part.has_uninitialized_params()]
    if not lazy:
        return
    reasons = []
    for count in _channel_counts(model, None):
        try:
            with eval_mode(model):
                model(torch.zeros(2, count, *image_size))
            return
        except Exception as error:  # a user's network may raise anything
            reasons.append(str(error).partition("\n")[0])
    raise SettingsError(
        f"the network's lazy layers cannot be set: {reasons[0]}", "Set data.image_size to what it takes."
    )


def plain(model: nn.Module) -> nn.Module:
    """The network itself where it is compiled, whose parts cannot be reached. Raises SettingsError for TorchScript."""
    model = getattr(model, "_orig_mod", model)
    if isinstance(model, torch.jit.ScriptModule):
        raise SettingsError(
            "the network is TorchScript, whose parts cannot be run one by one",
            "Give the nn.Module that it was made from; its weights are loaded by network.weights.",
        )
    return model


def _channel_counts(model: nn.Module, mean: Sequence[float] | None) -> list[int]:
    """How many channels the network may take, likeliest first: as its normalisation has them; else three, as images
    have them; else those of its first convolution.
    """
    known = mean if mean is not None else getattr(model, "input_mean", None)
    if known is not None:
        return [len(known)]
    first = next((part.in_channels for part in model.modules() if isinstance(part, nn.Conv2d)), len(MEAN))
    return [*dict.fromkeys((len(MEAN), first or len(MEAN)))]


def _first_output(model: nn.Module, images: object, output: Any) -> Any:
    """Of several outputs the first; of named ones ``logits`` or ``out``."""
    if isinstance(output, Mapping):
        return output.get("logits", output.get("out", next(iter(output.values()), None)))
    return output[0] if isinstance(output, tuple | list) and output else output
