# For fingers that type make; ./dev does the work.
.PHONY: demo test lint units sanity molecule docs benchmark faults
demo test lint units sanity molecule docs benchmark faults:
	@./dev $@
