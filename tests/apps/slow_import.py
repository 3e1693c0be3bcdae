"""Takes its time to be imported: whoever imports it holds a lock for as long."""

import time

time.sleep(0.005)
