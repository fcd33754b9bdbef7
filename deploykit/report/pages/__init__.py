"""The page of each command's result, made of the parts of `deploykit.report.page`."""
