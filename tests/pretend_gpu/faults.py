"""Device faults planted in the source, one at a time, and what the examination says of each.

    python -m pretend_gpu.faults FOLDER [NAME ...]

writes FOLDER/found.json: name -> complaints. Libraries are imported once; each fault is planted in a fork that has
imported nothing of tunelab yet.
"""

from __future__ import annotations

import importlib.machinery
import json
import os
import re
import sys
import traceback
from pathlib import Path
from typing import NamedTuple

SOURCE = Path(__file__).parents[2] / "src" / "tunelab"


MIXED = "Expected all tensors to be on the same device"
ENDED = "the process was ended by signal"
"""An error in a hook of the backward pass, which PyTorch does not survive in a thread of such a device."""


class Fault(NamedTuple):
    what: str
    file: str
    change: str
    """Code that stands once in the file, and in it <<what is left out>> or <<what is put|instead>>."""
    method: str
    """By which it is found."""
    said: str = MIXED
    """A pattern in the complaint, so that it is found for its own sake."""
    precision: str = "fp32"

    @property
    def old(self) -> str:
        return re.sub(r"<<([^|>]*?)(\|.*?)?>>", r"\1", self.change)

    @property
    def new(self) -> str:
        return re.sub(r"<<[^|>]*?(?:\|(.*?))?>>", lambda found: found[1] or "", self.change)


WHOLE = "gradients(self.parameters.values())"
NORMS = f"total_norm(<<{WHOLE}|[each.cpu() for each in {WHOLE}]>>)"
IN_PLACE = 'place = "cpu"<< if field == "step" and not counts_beside else parameter.device>>'
FAULTS = tuple(Fault(*row) for row in (
    ("the model is never moved",
     "backends/torch/loading.py", "<<model = model.to(place)|pass>>", "lora", "not on the device"),
    ("a mask on the CPU while texts are generated",
     "models/torch_rows.py", "torch.from_numpy(mask_BT)<<.to(device)>>", "lora"),
    ("supervised positions and targets on the CPU",
     "backends/torch/inputs.py", "<<sent|torch.from_numpy>>(value.astype(np.int64)<<, model.device>>) for", "full"),
    ("a factor of LoRA made without device=",
     "kernels/adapted_linear.py", "torch.zeros(outputs, rank<<, device=device>>)", "lora"),
    ("a drawn factor that is not moved",
     "kernels/adapted_linear.py", "shape=(rank, inputs)))<<.to(device)>>", "qlora"),
    ("positions of sparse values made without device=",
     "kernels/adapted_linear.py", "torch.arange(count, dtype=torch.int32<<, device=device>>)", "rosa over nf4"),
    ("rounding draws made on the CPU in a kernel",
     "models/int8.py", "generator=draw<<, device=steps.device>>)", "q_galore"),
    ("a start of the power iteration that is not moved",
     "kernels/projector.py", "draw=self.num_refreshes)<<.to(grad_OI.device)>>", "galore, a basis that turns",
     f"{MIXED}|{ENDED}"),
    ("a basis that resuming leaves on the CPU",
     "kernels/projector.py", "value<<.to(device, copy=True)|.clone()>> for key", "q_galore, a basis that turns"),
    ("moments that resuming leaves on the CPU", "training/inner/optimizers.py", IN_PLACE, "full"),
    ("a CPU kernel on the device's memory",
     "models/quantise.py", '_cpu_kernel(dtype)<< if codes.device.type == "cpu" else None>>', "qlora"),
    ("a .cpu() too many: the norm of every gradient on the host",
     "training/optim.py", NORMS, "full", "copies to the host"),
    ("autocast of another device",
     "backends/torch/paths.py", 'torch.autocast(<<self.model.device.type|"cpu">>,', "lora", "dtype", "bf16"),
    ("the last token made without device=",
     "models/torch_rows.py", "torch.tensor(last<<, device=self.model.device>>)", "lora"),
    ("scores of beams that are not moved",
     "models/torch_scores.py", "torch.from_numpy(running)<<.to(values_BK.device)>>", "full"),
    ("draws made without device=",
     "models/torch_scores.py", "torch.tensor(uniforms, dtype=torch.float64<<, device=scores_BV.device>>)", "full"),
    ("ranks that resuming leaves on the CPU",
     "training/rank_allocation.py", "value<<.to(device, copy=True)|.clone()>>", "adalora"),
    ("a method that reads what it saved into dtypes of its training", "backends/torch/session.py",
     "<<set_storage(self.model, precision=self.run.precision)|pass>>  # what", "sequential", "dtype", "bf16"),
))  # fmt: skip
"""What, where, which change, by which method it is found, what is said then."""


def with_it(fault: Fault) -> str:
    """The file's source with the fault in it."""
    text = (SOURCE / fault.file).read_text()
    assert text.count(fault.old) == 1, f"{fault.file}: '{fault.old}' stands there {text.count(fault.old)} times"
    return text.replace(fault.old, fault.new)


def plant(fault: Fault) -> None:
    """From here on the file is imported with the fault in it."""
    path = SOURCE / fault.file
    code = compile(with_it(fault), str(path), "exec")
    held = importlib.machinery.SourceFileLoader.get_code

    def get_code(self, fullname):
        return code if Path(self.path).resolve() == path else held(self, fullname)

    importlib.machinery.SourceFileLoader.get_code = get_code
    assert not any(name.startswith("tunelab") for name in sys.modules), "it would be planted too late"


def found(fault: Fault, folder: Path) -> list[str]:
    """Complaints about a fork in which it is planted."""
    folder.mkdir()
    with_it(fault)
    child = os.fork()
    if child == 0:
        status = 1
        try:
            plant(fault)
            from pretend_gpu.examined import examine, pretended

            complaints = examine(folder, "llama", fault.precision, [fault.method], there=pretended())
            (folder / "complaints.json").write_text(json.dumps(complaints[fault.method]))
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(status)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        return [f"{ENDED} {os.WTERMSIG(status)}"]
    assert status == 0, f"{fault.what}: it could not be examined"
    return json.loads((folder / "complaints.json").read_text())


def main() -> None:
    import bitsandbytes  # noqa: F401  imported once for all forks
    import peft  # noqa: F401
    import transformers.models.llama.modeling_llama
    import transformers.models.t5.modeling_t5  # noqa: F401

    import pretend_gpu.pretend  # noqa: F401

    folder, wanted = Path(sys.argv[1]), sys.argv[2:]
    chosen = [fault for fault in FAULTS if not wanted or fault.what in wanted]
    known = {fault.what: found(fault, folder / str(number)) for number, fault in enumerate(chosen)}
    (folder / "found.json").write_text(json.dumps(known))


if __name__ == "__main__":
    main()
