"""Lines for a shell that make a directory readable here, for the messages that refuse it."""

from pathlib import Path

# files of weights in other formats → what reads them into transformers
OTHER_FORMATS = {"tf_model.h5": "from_tf", "flax_model.msgpack": "from_flax"}


def to_safetensors(folder: Path) -> str:
    """What writes the weights of a folder in another format as safetensors; '' where it has none.

    PyTorch's files are converted tensor by tensor, so that nothing is dropped or drawn anew."""
    if any(folder.glob("pytorch_model*.bin")):
        return (
            "; it has PyTorch's files: with the packages torch and safetensors, python -c "
            f'"import glob, torch, safetensors.torch as s; s.save_file({{k: v.clone() for f in '
            f"glob.glob('{folder}/pytorch_model*.bin') for k, v in torch.load(f, "
            f"weights_only=True).items()}}, '{folder}/model.safetensors')\" writes it"
        )
    for file, option in OTHER_FORMATS.items():
        if (folder / file).is_file():
            return (
                f'; it has {file}: with the package transformers before 5, python -c "from '
                f"transformers import AutoModelForPreTraining as M; M.from_pretrained('{folder}', "
                f"{option}=True).save_pretrained('{folder}')\" writes it"
            )
    return ""


def as_class(folder: Path, architecture: str) -> str:
    """What writes a copy of a folder as a class that is known here."""
    return (
        f'with the package transformers, python -c "from transformers import {architecture} as '
        f"M; M.from_pretrained('{folder}').save_pretrained('{folder}-{architecture}')\" writes "
        "one of these, in which a head that the files lack is drawn anew"
    )
