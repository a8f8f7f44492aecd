"""Say what one run or many show: tables, figures, verdicts, report.html."""
