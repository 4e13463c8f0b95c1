# For fingers that type make; ./dev does the work.
.PHONY: demo test lint units sanity molecule docs benchmark
demo test lint units sanity molecule docs benchmark:
	@./dev $@
