"""What an author asks for.

Nothing is imported here: `wasmos run` without a policy needs none of it.

    manifest   [task.NAME], `use` and the servers, read and checked
    tables     a TOML file whose unknown keys and wrong values are errors with a line
    positions  where in the text each key and value stands
    schema     the JSON Schemas of manifests and policies, which are files beside it
"""
