"""The control plane: what is deployed, who may say so, and when the node starts and ends.

No request of a function passes through here: the data plane is the compiled core's.
"""
