"""Alerts without Prometheus: what is wrong is logged and posted, once when it begins and ends.

Read ``readings`` (what one look says), ``episodes`` (when it is said), ``notice`` (how it is put
into words and signed), ``webhook`` (how it gets there), ``post`` (one try), ``alarm`` (the whole).
"""
