"""``carrousel predict``, of a language model."""

from __future__ import annotations

from typing import Annotated

import typer

from carrousel.cli._option import Run, model
from carrousel.cli._output import show_notes

EXAMPLES = ('carrousel predict runs/manual --prompt "Return " --tokens 300 --temperature 0.7',)


def command(
    run: Run,
    prompt: Annotated[str, typer.Option(metavar="TEXT", help="What to go on with. Default: begin a text.")] = "",
    tokens: Annotated[int, typer.Option(metavar="N", help="Most tokens.")] = 500,
    temperature: Annotated[
        float | None,
        typer.Option(metavar="T", help="Below 1 the probable becomes more so; 0 takes the best. Default: 1."),
    ] = None,
    top_k: Annotated[int | None, typer.Option(metavar="K", help="Draw from the K most probable tokens only.")] = None,
    top_p: Annotated[float | None, typer.Option(metavar="P", help="Draw from the most probable share P only.")] = None,
    beams: Annotated[int, typer.Option(metavar="N", help="Search the most probable text with N beams instead.")] = 1,
    seed: Annotated[int | None, typer.Option(metavar="S", help="The same seed gives the same text.")] = None,
    stop: Annotated[list[str] | None, typer.Option(metavar="TEXT", help="End before this text. Repeatable.")] = None,
) -> None:
    """Go on with a text; what is generated appears as it arises, behind the prompt."""
    show_notes()
    sampling = {"temperature": temperature, "top_k": top_k, "top_p": top_p}
    pieces = model(run).generate_pieces(prompt, tokens=tokens, **sampling, beams=beams, seed=seed, stop=stop or ())
    print(prompt, end="", flush=True)
    for piece in pieces:
        print(piece, end="", flush=True)
    print()
