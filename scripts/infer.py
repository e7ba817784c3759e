"""Score the KPI set with both weight files of a phase."""

from deft.run.cli import flag, launch, parser
from deft.run.stage import run_stage
from deft.stages.context import Context
from deft.stages.infer import infer_phase
from deft.stages.train import forget_state


def body(args, run):
    """Infer as one logged stage."""
    context = Context(run)
    run_stage(
        run.dir,
        args.phase,
        "inference",
        lambda: infer_phase(
            context,
            args.phase,
            device=args.device,
            threads=args.threads,
            runtime=args.runtime,
            compile=args.compile,
        ),
        attempt=args.attempt,
        next_stage="evaluate",
        max_iterations=args.max_iterations,
    )
    forget_state(context, args.phase)


if __name__ == "__main__":
    options = parser(__doc__)
    options.add_argument("--device", default="auto", help="auto, cpu or cuda")
    options.add_argument("--runtime", choices=("torch", "onnx"), default="torch", help="engine")
    options.add_argument("--compile", type=flag, default=False, help="torch.compile the network")
    options.add_argument("--threads", type=int, default=1, help="CPU threads")
    launch(options.parse_args(), body)
