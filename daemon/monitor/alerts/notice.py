"""How a notice is put: as JSON or as a text for Slack, signed as Standard Webhooks has it.

https://www.standardwebhooks.com: ``webhook-id`` is the same for every try of a notice,
``webhook-timestamp`` is that of the try, and ``webhook-signature`` is over both and the body.
"""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
import hmac
import json
from typing import Any

from queued.config.endpoint import decode_secret
from queued.daemon.monitor.alerts.episodes import OPENED, RESOLVED, TEST, Notice
from queued.version import __version__

AGENT = f"queued/{__version__}"
_SIGNS = {
    OPENED: (":red_circle:", " opened"),
    RESOLVED: (":large_green_circle:", " resolved"),
    TEST: (":large_blue_circle:", ""),
}
_SLACK = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})


def body(notice: Notice, style: str, host: str) -> bytes:
    """Return what is posted.

    :param style: ``json`` or ``slack``.
    :param host: where this daemon runs.
    """
    values = _slack(notice, host) if style == "slack" else _plain(notice, host)
    return json.dumps(values, ensure_ascii=False, separators=(",", ":")).encode()


def headers(notice: Notice, content: bytes, secret: str | None, now: float) -> dict[str, str]:
    """Return the headers of one try.

    :param now: seconds since the epoch.
    """
    at = str(int(now))
    found = {
        "Content-Type": "application/json",
        "User-Agent": AGENT,
        "webhook-id": notice.id,
        "webhook-timestamp": at,
    }
    if secret is not None:
        signed = b".".join((notice.id.encode(), at.encode(), content))
        digest = hmac.digest(decode_secret(secret), signed, hashlib.sha256)
        found["webhook-signature"] = f"v1,{base64.b64encode(digest).decode()}"
    return found


def _plain(notice: Notice, host: str) -> dict[str, Any]:
    return {
        "type": notice.type,
        "timestamp": _iso(notice.at),
        "data": {
            "alert": notice.alert,
            "subject": notice.subject,
            "message": notice.message,
            "value": notice.value,
            "threshold": notice.threshold,
            "episode": notice.episode,
            "opened_at": _iso(notice.opened_at),
            "host": host,
        },
    }


def _slack(notice: Notice, host: str) -> dict[str, Any]:
    sign, word = _SIGNS[notice.type]
    text = f"{notice.alert}{word} on {host}: {notice.message}"
    return {"text": f"{sign} {text.translate(_SLACK)}"}


def _iso(at: float) -> str:
    moment = dt.datetime.fromtimestamp(at, dt.UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
