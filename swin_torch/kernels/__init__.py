def asked_for(qkv): return False
