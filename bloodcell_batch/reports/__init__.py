"""What a laboratory does with the results of a run: differentials, reports, reviews, comparisons, exports."""
