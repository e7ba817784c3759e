"""A drawn PCB line: component crops, defects, boards, and the workspace made of them."""
