"""Who is being served: the visits in flight and the names they are counted under."""
