"""`doctor`: what this machine has, and what `auto` would use."""

from bloodcell_batch.cli.configured import Call, configured
from bloodcell_batch.config.doctor import DoctorConfig


@configured(DoctorConfig, config_file="")
def doctor(call: Call[DoctorConfig]) -> None:
    """Show versions, devices, the backend that `auto` picks and why better ones are skipped, and the model's hash.

    Exits with 0 when `classify` can run here, with 1 or 4 when it can't.
    """
    from bloodcell_batch.cli.diagnosis import examine  # noqa: PLC0415
    from bloodcell_batch.cli.streams import write_text  # noqa: PLC0415 - keeps --help fast

    for line in examine(call.settings.model, call.settings.folder, call.observer()):
        write_text(line)
