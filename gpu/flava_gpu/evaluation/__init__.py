"""How good a model is: suites of tasks, their metrics and floors, and the tables that say so. docs/evaluation.md."""
