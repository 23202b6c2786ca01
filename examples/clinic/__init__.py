"""A small model API behind the meter: 426 patients' records answer other people's questions, and are paid."""
