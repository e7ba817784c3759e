"""Embed the source pool with the configured encoder."""

from deft.cli import launch, parser
from deft.jobs import registered
from deft.stage import hard_stop_recorded
from deft.steps.context import Context
from deft.steps.pool import embed_pool, open_encoder


def body(args, run):
    """Embed; the contract's log has no line for it, only for its failure."""
    context = Context(run)
    with (
        hard_stop_recorded(run.dir, "preflight", "preflight", attempt=args.attempt),
        registered(run.dir, "pool", "embed"),
    ):
        encoder = open_encoder(
            context,
            args.encoder,
            args.encoder_weights,
            device=args.device,
            batch_size=args.batch_size,
            threads=args.threads,
        )
        print(embed_pool(context, encoder), flush=True)


if __name__ == "__main__":
    options = parser(__doc__, phase=False)
    options.add_argument("--encoder", required=True, help="siglip, clip or changenet")
    options.add_argument("--encoder-weights", default="", help="local folder of the weights")
    options.add_argument("--device", default="auto", help="auto, cpu or cuda")
    options.add_argument("--batch-size", type=int, default=32, help="pictures per forward pass")
    options.add_argument("--threads", type=int, default=1, help="CPU threads")
    launch(options.parse_args(), body)
