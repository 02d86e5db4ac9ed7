"""``carrousel demo language``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

EXAMPLES = ("carrousel demo language -o runs/shakespeare",)

SET, MINUTES = "tinyshakespeare", 3.0


def command(
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="RUN", help="Where the model goes, and RUN.html.")
    ] = Path("runs/shakespeare"),
    minutes: Annotated[float, typer.Option(metavar="M", help="Budget of the training.")] = MINUTES,
    seed: Annotated[int, typer.Option(metavar="S", help="The same seed gives the same model.")] = 0,
) -> None:
    """Train on the plays of Shakespeare, compare with n-grams on the last tenth, write a scene and an HTML report."""
    from carrousel.cli._text import text_paths
    from carrousel.cli._training import training_in
    from carrousel.data.text import documents
    from carrousel.report.language import write_language_report
    from carrousel.tasks.language import LanguageModel

    text = "".join(documents(text_paths([SET])[0])[0].pieces())
    border = len(text) * 9 // 10
    model = LanguageModel(minutes=minutes, seed=seed)
    print(f"{SET}: {len(text):,} characters, of which the last tenth is held out; training, {minutes:g} minutes ...")
    with training_in(output.with_name(f"{output.name}.training")) as progress:
        model.fit(text[:border], validation=text[border:], progress=progress)
    own, other = model.score(text[border:]), model.baseline(text[border:])
    print(
        f"On the last tenth: {own.nats_per_character:.4f} nats a character, n-grams by Kneser-Ney "
        f"{other.nats_per_character:.4f}\n"
    )
    for piece in model.generate_pieces("ROMEO:", tokens=400, temperature=0.8, seed=seed):
        print(piece, end="", flush=True)
    model.save(output, overwrite=True)
    report = write_language_report(
        output.with_name(f"{output.name}.html"),
        model=model,
        text=text[border:],
        title=f"Language: the last tenth of {SET}",
        artifact=output,
        facts={"Held out": "The scored tenth also chose the weights that are kept, as in published figures."},
    )
    print(f"\n\nReport  {report}\n\nNext:")
    print(f'  carrousel predict {output} --prompt "JULIET:"\n  carrousel evaluate {output} {SET} --last 0.1')
