"""Every number that is shown, computed again from the answers and traces by slow code of its own."""
