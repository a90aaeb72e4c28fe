"""A member of a Waybill task in Python, written from docs/api.md and /openapi.json alone.

    pip install eth-account requests
    python python-participant.py send    DEPLOYMENT.json KEYFILE TASK TAG FILE RECIPIENT...
    python python-participant.py receive DEPLOYMENT.json KEYFILE TASK TAG FILE SENDER

KEYFILE holds a private key in hex. `send` ends when every recipient has answered or is late, `receive` when its receipt stands
on the chain. Only key, deployment and task id are trusted: whatever the server says is checked against them. Run the same
command again after a failure: parts that are stored are not sent twice, and who has a notice gets no second one.
"""
import base64, collections, concurrent.futures, hashlib, json, os, sys, time
import requests
from eth_abi import encode
from eth_account import Account
from eth_account.messages import encode_defunct, encode_typed_data
from eth_utils import keccak

TIMEOUT = 600  # seconds that recipients get, and that a receiver waits for a notice
PAGE = 104  # members in a page: the bits of a notice
OUTCOMES = {"VERIFIED": 1, "CORRUPT": 2, "TOO_LARGE": 3, "REFUSED": 4}
TYPES = {name: [dict(zip(("type", "name"), field.split())) for field in fields.split(",")] for name, fields in {
    "Open": "address owner,bytes32 salt,address[] members",
    "Admit": "bytes32 task,address[] members,uint32 roster",
    "Expel": "bytes32 task,address[] members,uint32 roster",
    "Notice": "bytes32 task,address sender,uint16 page,uint256 recipients,bytes32 transfer,bytes32 manifest,uint48 deadline",
    "Receipt": "bytes32 task,bytes32 notice,uint8 outcome",
    "Withdraw": "bytes32 task,bytes32 notice"}.items()}

class Refused(Exception):
    """What the API answered instead: `problem["code"]` is stable, `problem["detail"]` is for people."""
    def __init__(self, problem):
        super().__init__(f"{problem['code']}: {problem.get('detail')}")
        self.problem = problem

def check(true, what):
    if not true: raise SystemExit(f"Not to be believed: {what}.")

def b64(data): return base64.b64encode(data).decode()
def sha256(data): return hashlib.sha256(data).digest()
def hexed(data): return "0x" + bytes(data).hex()

class Member:
    """One account in one task, over HTTPS."""
    def __init__(self, deployment, keyfile, task):
        with open(deployment) as file: self.to = json.load(file)
        with open(keyfile) as file: self.key = Account.from_key(file.read().strip())
        self.account, self.task, self.origin, self.skew = self.key.address.lower(), task.lower(), self.to["api"].rstrip("/"), 0
        self.http = requests.Session()  # heeds HTTPS_PROXY and REQUESTS_CA_BUNDLE

    # ---- signed requests (ERC-8128)

    def headers(self, method, path, query, body):
        values = {"@authority": self.origin.split("://")[1], "@method": method, "@path": path}  # in this order
        headers = {"Content-Type": "application/json"} if body else {}
        if query: values["@query"] = query
        if body: headers["Content-Digest"] = values["content-digest"] = f"sha-256=:{b64(sha256(body))}:"
        now = int(time.time() + self.skew)
        nonce = "" if method == "GET" else f';nonce="{base64.urlsafe_b64encode(os.urandom(16)).decode().rstrip("=")}"'
        params = (f"({' '.join(json.dumps(name) for name in values)});created={now};expires={now + 60}{nonce}"
                  f';keyid="erc8128:{self.to["chainId"]}:{self.account}"')
        base = "".join(f'"{name}": {value}\n' for name, value in values.items()) + f'"@signature-params": {params}'
        signature = self.key.sign_message(encode_defunct(text=base)).signature
        return headers | {"Signature-Input": f"eth={params}", "Signature": f"eth=:{b64(signature)}:"}

    def call(self, method, path, body=None, query=""):
        """Every call may be repeated; each try is signed anew."""
        path, data = f"/v1/tasks/{self.task}{path}", b"" if body is None else json.dumps(body).encode()
        for attempt in range(6):
            wait = 2**attempt / 4
            try:
                status, headers, text = self.ask(method, self.origin + path + query, 8 * 2**20,
                                                 self.headers(method, path, query, data), data)
                if status < 300: return json.loads(text)
                problem = json.loads(text)
                wait = max(wait, min(60, float(headers.get("Retry-After", 0))))
            except (requests.RequestException, ValueError):
                problem = {"code": "UNREACHABLE", "detail": f"{self.origin} gives no answer that is the API's."}
            if problem["code"] == "CLOCK_SKEW" and abs(problem["serverTime"] - time.time()) < 1800:
                self.skew, wait = problem["serverTime"] - time.time(), 0
            elif problem["code"] not in ("UNREACHABLE", "UNAVAILABLE", "INTERNAL", "RATE_LIMITED"): break
            time.sleep(wait)
        raise Refused(problem)

    def ask(self, method, url, most, headers, body):
        """One request: no redirect is followed, and no more is read than `most` bytes."""
        with self.http.request(method, url, headers=headers, data=body, timeout=35, allow_redirects=False, stream=True) as answer:
            data = answer.raw.read(most + 1, decode_content=False)
            check(len(data) <= most and not 300 <= answer.status_code < 400, "an answer that is too long, or redirects")
            return answer.status_code, answer.headers, data

    # ---- statements (EIP-712)

    def typed(self, name, values):
        domain = {"name": "Waybill", "version": "1", "chainId": self.to["chainId"], "verifyingContract": self.to["contract"]}
        return encode_typed_data(domain, {name: TYPES[name]}, values)

    def sign(self, name, values): return hexed(self.key.sign_message(self.typed(name, values)).signature)

    def signer(self, name, values, signature):
        return Account.recover_message(self.typed(name, values), signature=signature).lower()

    def notice_id(self, notice):
        """A statement's id: keccak256 over its struct hash and its author, each a word of 32 bytes."""
        return hexed(keccak(self.typed("Notice", notice).body + bytes(12) + bytes.fromhex(notice["sender"][2:])))

    # ---- the task as its signed events tell it: a server can withhold them, not forge them

    def restart(self):
        self.seq, self.block, self.hash, self.now = 0, 0, None, 0
        self.accounts, self.index, self.notices = [], {}, {}  # by index; indices of active accounts; by id

    def follow(self, found, timeout):
        """Reads events until `found` says something, or `timeout` seconds are over."""
        until, result = time.monotonic() + timeout, None
        while result is None and time.monotonic() < until:
            at = f"?after={self.seq}&block={self.block}" + (f"&hash={self.hash}" if self.hash else "")
            try: answer = self.call("GET", "/events", query=at)
            except Refused as refusal:
                if refusal.problem["code"] != "CONFLICT": raise
                self.restart()  # a reorganisation has replaced what was read
                continue
            for event in answer["events"]: self.apply(event)
            self.now = answer["head"]["timestamp"]  # the chain's time: deadlines are judged by it
            if answer["events"]: continue
            result = found()  # when we have caught up
            if result is None: time.sleep(answer["poll"] / 1000)
        return result

    def apply(self, event):
        check(event["task"] == self.task and event["seq"] == self.seq + 1 and event["prevBlock"] == self.block, "a gap")
        self.seq, self.block, self.hash = event["seq"], event["block"], event["blockHash"]
        getattr(self, "on_" + event["type"], lambda event: None)(event)  # the others tell nothing that matters here

    def enroll(self, members):
        for account in members:
            if account not in self.index: self.index[account] = len(self.accounts); self.accounts.append(account)

    def on_opened(self, event):
        committed = keccak(encode(["address", "bytes32"], [event["owner"], bytes.fromhex(event["salt"][2:])]))
        opening = {field: event[field] for field in ("owner", "salt", "members")}
        check(hexed(committed) == self.task and self.signer("Open", opening, event["signature"]) == event["owner"], "an opening")
        self.owner = event["owner"]
        self.enroll(event["members"])

    def on_admitted(self, event, name="Admit"):
        change = {field: event[field] for field in ("task", "members", "roster")}
        check(self.signer(name, change, event["signature"]) == self.owner, "a change of members")
        if name == "Admit": self.enroll(event["members"])

    def on_expelled(self, event):
        self.on_admitted(event, "Expel")
        for account in event["members"]: self.index.pop(account, None)

    def on_noticed(self, event):
        notice = {field["name"]: event[field["name"]] for field in TYPES["Notice"]}
        notice["recipients"] = int(notice["recipients"], 16)
        if self.signer("Notice", notice, event["signature"]) != notice["sender"]: return  # a contract wallet's: needs a node
        check(notice["sender"] in self.index, "a stranger's notice")
        to = [self.accounts[notice["page"] * PAGE + bit] for bit in range(PAGE) if notice["recipients"] >> bit & 1]
        self.notices[self.notice_id(notice)] = {**notice, "answers": dict.fromkeys(to), "withdrawn": False}

    def on_receipts(self, event):
        for group in event.get("receipts", [event]):
            receipt = {"task": self.task, "notice": group["notice"], "outcome": OUTCOMES[group["outcome"]]}
            notice = self.notices.get(group["notice"], {"answers": {}})  # of a contract wallet's notice nothing is known
            for signature in group["signatures"]:
                author = self.signer("Receipt", receipt, signature)
                check(author in self.index and not notice["answers"].get(author), "a receipt")
                notice["answers"][author] = group["outcome"]

    def on_withdrawn(self, event):
        notice = self.notices.get(event["notice"])
        withdraw = {"task": self.task, "notice": event["notice"]}
        if notice and self.signer("Withdraw", withdraw, event["signature"]) == notice["sender"]: notice["withdrawn"] = True

    # ---- the store

    def part(self, method, number, given, size, good, headers={}, body=None):
        """A part's way to or from the store, in several tries. `given(again)` brings its presigned URL, which is a secret."""
        for attempt in range(6):
            grant = given(attempt > 0)
            check(grant["url"].startswith(self.to["storeOrigin"] + "/"), "a URL that leads past the store")
            try:
                done = good(*self.ask(method, grant["url"], size, {**grant["headers"], **headers}, body))
                if done is not None: return done
            except requests.RequestException: pass
            time.sleep(2**attempt / 4)
        raise SystemExit(f"Part {number} did not get through. Run the same command again: what is done stays done.")

    # ---- sending

    def send(self, tag, path, recipients):
        self.restart()
        self.follow(lambda: True, TIMEOUT)
        check(all(account in self.index for account in recipients), "a recipient who is no active member")
        transfer, size = hexed(keccak(text=tag)), os.path.getsize(path)
        plan = self.call("POST", "/transfers", {"transfer": transfer, "size": size})
        starts = range(0, size, plan["partSize"]) or [0]  # no bytes are one empty part
        with open(path, "rb") as file:
            read = lambda number: os.pread(file.fileno(), min(plan["partSize"], size - starts[number - 1]), starts[number - 1])
            parts = [{"number": number, "length": len(data := read(number)), "sha256": b64(sha256(data))}
                     for number in range(1, len(starts) + 1)]
            if plan["state"] == "open": self.upload(f"/transfers/{transfer}/parts", parts, read)
        digests = [part["sha256"] for part in parts]
        whole = b64(sha256(b"".join(map(base64.b64decode, digests))))
        manifest = json.dumps({  # RFC 8785: names sorted, no spaces, UTF-8; whoever sends the same bytes writes the same
            "version": 1, "tag": tag, "size": size, "partSize": plan["partSize"], "contentType": plan["contentType"],
            "parts": digests, "checksum": f"{whole}-{len(parts)}",
        }, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
        finish = {"manifest": b64(manifest), "notices": []}
        while (done := self.call("POST", f"/transfers/{transfer}/finish", finish))["state"] == "completing": time.sleep(2)
        deadline = done["head"]["timestamp"] + TIMEOUT
        self.notify(transfer, hexed(sha256(manifest)), recipients, deadline)
        return self.await_answers(transfer, recipients, deadline)

    def upload(self, path, parts, read):
        held = {part["number"]: part["sha256"] for part in self.call("GET", path)["parts"]}
        missing = [part for part in parts if held.get(part["number"]) != part["sha256"]]
        sign = lambda parts: {url["number"]: url for url in self.call("POST", path, {"parts": parts})["urls"]}
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            for first in range(0, len(missing), 32):  # URLs live 15 minutes: only what is sent next gets some
                batch = missing[first:first + 32]
                urls = sign(batch)
                list(pool.map(lambda part: self.part(
                    "PUT", part["number"], lambda again: (sign([part]) if again else urls)[part["number"]], 2**20,
                    lambda status, headers, data: True if status == 200 else None, body=read(part["number"])), batch))

    def of(self, transfer): return [one for one in self.notices.values() if (one["sender"], one["transfer"]) == (self.account, transfer)]

    def notify(self, transfer, manifest, recipients, deadline):
        """A notice for each page of recipients, without those who verified this transfer or still have a notice of it."""
        waiting = {who for one in self.of(transfer) for who, answer in one["answers"].items() if answer == "VERIFIED"
                   or (answer is None and not one["withdrawn"] and one["deadline"] > self.now)}
        pages = collections.defaultdict(dict)
        for who in set(recipients) - waiting: pages[self.index[who] // PAGE][self.index[who] % PAGE] = who
        for page, who in pages.items():
            notice = {"task": self.task, "sender": self.account, "page": page, "recipients": sum(1 << bit for bit in who),
                      "transfer": transfer, "manifest": manifest, "deadline": deadline}
            wire = {"kind": "notice", **notice, "recipients": f"0x{notice['recipients']:064x}"}
            signed = {"notice": wire, "signature": self.sign("Notice", notice), "recipients": [who[bit] for bit in sorted(who)]}
            self.call("POST", f"/transfers/{transfer}/finish", {"notices": [signed]})

    def await_answers(self, transfer, recipients, deadline):
        def answers():
            told = {who: answer for one in self.of(transfer) for who, answer in one["answers"].items() if answer}
            if self.now > deadline or all(who in told or who not in self.index for who in recipients):
                return {who: told.get(who) for who in recipients}
        return self.follow(answers, TIMEOUT + 120)

    # ---- receiving

    def receive(self, tag, path, sender):
        self.restart()
        transfer = hexed(keccak(text=tag))
        offer = lambda: next((id for id, one in self.notices.items() if (one["sender"], one["transfer"]) == (sender, transfer)
            and one["answers"].get(self.account, "not for me") is None and not one["withdrawn"] and one["deadline"] > self.now), None)
        id = self.follow(offer, TIMEOUT)
        if id is None: raise SystemExit(f"{sender} has sent nothing under this tag in {TIMEOUT} s.")
        notice = self.notices[id]
        outcome = "VERIFIED" if self.download(id, notice["manifest"], tag, path + ".part") else "CORRUPT"
        receipt = {"task": self.task, "notice": id, "outcome": OUTCOMES[outcome]}
        if outcome == "VERIFIED": os.link(path + ".part", path)  # which overwrites nothing
        os.unlink(path + ".part")
        self.call("POST", "/receipts", {"notice": id, "outcome": outcome, "signature": self.sign("Receipt", receipt)})
        answer = lambda: self.notices[id]["answers"][self.account]
        over = lambda: "LATE" if self.notices[id]["withdrawn"] or self.now > notice["deadline"] else None
        return self.follow(lambda: answer() or over(), TIMEOUT + 120) or "LATE"

    def download(self, id, digest, tag, path):
        """Every part into `path`, each verified by the manifest to which the sender's signed notice commits."""
        first = self.call("POST", f"/notices/{id}/download")
        text = base64.b64decode(first["manifest"])
        check(hexed(sha256(text)) == digest, "a manifest that the notice does not commit to")
        manifest = json.loads(text)  # from here on it is the sender's word
        size, part_size, digests = manifest["size"], manifest["partSize"], manifest["parts"]
        starts = range(0, size, part_size) or [0]
        if manifest["tag"] != tag or part_size > 64 * 2**20 or len(digests) != len(starts): return False
        with open(path, "wb") as file:
            def get(i):
                length, wrong = min(part_size, size - starts[i]), []
                if length == 0: return b64(sha256(b"")) == digests[i]
                span = f"{starts[i]}-{starts[i] + length - 1}"
                def good(status, headers, data):
                    if status != 206 or headers.get("Content-Range") != f"bytes {span}/{size}" or len(data) != length: return None
                    if b64(sha256(data)) == digests[i]: return os.pwrite(file.fileno(), data, starts[i]) == length
                    wrong.append(i)
                    return False if len(wrong) == 2 else None  # wrong bytes twice are what the store holds
                return self.part("GET", i + 1, lambda again: self.call("POST", f"/notices/{id}/download") if again else first,
                                 max(length, 2**16), good, {"Range": f"bytes={span}"})
            with concurrent.futures.ThreadPoolExecutor(4) as pool: complete = all(pool.map(get, range(len(starts))))
            os.fsync(file.fileno())
        return complete

def main(what, deployment, keyfile, task, tag, path, *accounts):
    member, accounts = Member(deployment, keyfile, task), [account.lower() for account in accounts]
    if what == "receive" and os.path.exists(path): raise SystemExit(f"{path} is there already.")
    answers = member.send(tag, path, accounts) if what == "send" else {accounts[0]: member.receive(tag, path, accounts[0])}
    for account, answer in (answers or dict.fromkeys(accounts)).items(): print(account, answer or "has not answered in time")
    return 0 if answers and set(answers.values()) == {"VERIFIED"} else 1

if __name__ == "__main__":
    if len(sys.argv) < 8 or sys.argv[1] not in ("send", "receive"): raise SystemExit(__doc__)
    try: sys.exit(main(*sys.argv[1:]))
    except Refused as refusal: raise SystemExit(str(refusal))
