"""The steps of an epoch: freeze, vector, report, votes, submission, adoption, payment."""
