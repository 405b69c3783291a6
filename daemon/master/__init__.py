"""The master process, and the template that it forks workers from.

Read ``master`` (the loop), ``workforce`` (all children), ``pool`` (one queue's), ``child`` (one
process as a state machine).

    made by   plan → births → template (with template_process), templates, nursery, fork, wires
    ended by  deaths → restart (when the next one starts), obituary (what is said), overruns (kills)
    changed   changes (reload, restart) → rollout
    outside   control, control_client, commands, signals, notify, listen, runtime (lock, paths),
              report, summary
"""
