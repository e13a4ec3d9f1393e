"""What a program needed: it runs, is watched, and its policy is written.

learn      the run
learner    who watches, and makes a rule for each thing that is done
watched    the servers that it uses, which remember what was done with them
learnt     the fewest rules for that, as a policy
"""

from wasmos.system.learn.learn import Learnt, learn

__all__ = ["Learnt", "learn"]
