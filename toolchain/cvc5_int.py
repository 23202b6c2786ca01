"""Decide one SMT-LIB file with cvc5, bit vectors read as integers: `python toolchain/cvc5_int.py FILE`.

The solver command of `make prove`. Products and quotients of money are what solvers that think in bits give
up on; as integers they take a fraction of a second. Prints what the file asks for, as a solver does.
"""

from __future__ import annotations

import sys

import cvc5  # type: ignore[import-not-found]  # only in .venv-analysis


def main() -> int:
    (path,) = sys.argv[1:]
    terms = cvc5.TermManager()
    solver = cvc5.Solver(terms)
    solver.setOption("solve-bv-as-int", "sum")
    solver.setOption("produce-models", "true")
    parser = cvc5.InputParser(solver)
    parser.setFileInput(cvc5.InputLanguage.SMT_LIB_2_6, path)
    symbols = parser.getSymbolManager()
    while not (command := parser.nextCommand()).isNull():
        answer = command.invoke(solver, symbols)
        if answer:
            print(answer, end="", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
