"""Why a start has failed, as JupyterHub's pages and its progress stream show it."""

from __future__ import annotations

import html
from importlib.metadata import version
from typing import TYPE_CHECKING

import jupyterhub
from jupyterhub.spawner import SpawnException

from roost_spawner.support import support_text

if TYPE_CHECKING:
    from roost_spawner.record import Record

_SUPPORT = """\
<details class="roost-support text-start mt-3">
<summary>For your support: what happened, without any secret</summary>
<pre tabindex="0" class="border rounded p-2 mt-2">{}</pre>
</details>"""


class StartFailed(SpawnException):  # type: ignore[misc]  # JupyterHub ships no types
    """Why there is no session, in a sentence that the page shows as it is.

    Parameters
    ----------
    sentence
        For the user.
    reason
        A label for metrics.
    status
        HTTP status.
    detail
        For the log.
    tail
        The server's last lines.
    record
        The session that failed, if it had come to be one: its user can copy what support needs.
    """

    def __init__(
        self,
        sentence: str,
        *,
        reason: str,
        status: int,
        detail: str = "",
        tail: str = "",
        record: Record | None = None,
    ) -> None:
        super().__init__(
            sentence,
            reason=reason,
            status_code=status,
            log_message=f"{sentence} [{detail}]" if detail else sentence,
        )
        self.sentence = sentence
        # What JupyterHub's pages and progress stream show instead of the exception's name.
        self.jupyterhub_message = f"{sentence}\n{tail}" if tail else sentence
        self.jupyterhub_html_message = html.escape(sentence)
        if tail:
            self.jupyterhub_html_message += (
                f"<pre tabindex='0' class='text-start'>{html.escape(tail)}</pre>"
            )
        if record is not None:
            software = f"Roost {version('jupyterhub-roost')}, JupyterHub {jupyterhub.__version__}"
            text = support_text(record, sentence, tail=tail, software=software)
            self.jupyterhub_html_message += _SUPPORT.format(html.escape(text))
