"""The page that a browser gets once initialization has failed."""

import html
import time

PAGE_POLICY = "default-src 'none'; style-src 'unsafe-inline'"

_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>The model is not being served</title>
<style>
:root {{ color-scheme: light dark; font: 1rem/1.5 system-ui, sans-serif; }}
body {{ margin: 0 auto; max-width: 50rem; padding: 2rem 1rem; }}
pre {{ border-left: 0.25rem solid; padding: 0.5rem 1rem; white-space: pre-wrap; overflow-wrap: anywhere; }}
dl {{ display: grid; grid-template-columns: max-content 1fr; gap: 0.25rem 1rem; }}
dt {{ font-weight: bold; }}
dd {{ margin: 0; }}
</style>
</head>
<body>
<main>
<h1>The model is not being served</h1>
<pre>{error}</pre>
<dl>
{facts}
</dl>
{traceback}<h2>What you can do</h2>
<p>On the machine or in the container where it runs:</p>
<dl>
<dt><code>drum-supervise failure</code></dt><dd>shows the whole failure report.</dd>
<dt><code>drum-supervise restart</code></dt><dd>tries again, once the cause is repaired.</dd>
</dl>
</main>
</body>
</html>
"""


def render_page(error: str, facts: list[tuple[str, str]], traceback: str) -> str:
    rows = "\n".join(f"<dt>{name}</dt><dd>{html.escape(value)}</dd>" for name, value in facts)
    trace = f"<h2>Traceback</h2>\n<pre>{html.escape(traceback)}</pre>\n" if traceback else ""
    return _PAGE.format(error=html.escape(error), facts=rows, traceback=trace)


def prefers_html(accept: str) -> bool:
    """Return whether an `Accept` header names text/html, and prefers it to our other types."""
    qualities = dict(_parse_quality(each) for each in accept.split(","))
    page = qualities.get("text/html", 0.0)
    is_json_better = qualities.get("application/json", 0.0) >= page
    return page > 0 and not is_json_better and page >= qualities.get("*/*", 0.0)


def _parse_quality(media_range: str) -> tuple[str, float]:
    name, *parameters = (part.strip().lower() for part in media_range.split(";"))
    weights = [text[2:] for text in parameters if text.startswith("q=")]
    try:
        return name, float(weights[0]) if weights else 1.0
    except ValueError:
        return name, 0.0


def format_utc(moment: float) -> str:
    if not moment:
        return "unknown"
    try:
        return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(moment))
    except (ValueError, OverflowError, OSError):
        return "unknown"
