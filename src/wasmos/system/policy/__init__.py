"""What an operator grants.

Nothing is imported here: `wasmos run` without a policy needs none of it.

    policy     a policy's sections, and what of a manifest's wishes they cover
    rights     a rule with its place, and what badges it may have
    edit       a rule more in a file that people also write
    widen      a rule, and the next wider ones to offer
"""
