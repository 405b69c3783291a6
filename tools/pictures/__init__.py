"""Pictures of the Grafana dashboard for the docs: ``python -m tools.pictures``.

Grafana is not needed: the panels of grafana/queued.json are drawn with matplotlib, from a real
Prometheus that scrapes the daemons of ``tests.grafana.scene``. look.py has what Grafana would
decide (units, colours), draw.py the kinds of panel, __main__.py puts them where they belong.
"""
