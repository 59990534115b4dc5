// Writes ONNX models: the few messages of onnx.proto that a graph of nodes and initializers needs, in protobuf's wire format.
// Tensors are produced one at a time while writing, so that a model never lies in memory as a whole.
import { createWriteStream } from 'node:fs'
import { once } from 'node:events'
import { rename } from 'node:fs/promises'

/** TensorProto.DataType. */
const DATA_TYPES = { f32: 1, i8: 3, i64: 7 } as const
export type TensorType = keyof typeof DATA_TYPES

export interface Initializer {
  name: string
  type: TensorType
  dims: readonly number[]
  sizeBytes: number
  read: () => Promise<Uint8Array>
}

export type Attribute = { float: number } | { int: number } | { ints: readonly number[] }

export interface GraphNode {
  op: string
  inputs: readonly string[]
  outputs: readonly string[]
  attributes: Readonly<Record<string, Attribute>>
  /** Empty for ONNX's own operators. */
  domain: string
}

/** A model's input or output; a dimension that is a word may be of any size. */
export interface GraphValue {
  name: string
  type: TensorType
  dims: readonly (number | string)[]
}

export interface Graph {
  nodes: readonly GraphNode[]
  initializers: readonly Initializer[]
  inputs: readonly GraphValue[]
  outputs: readonly GraphValue[]
}

const IR_VERSION = 9
const OPSET = 17
export const MICROSOFT = 'com.microsoft'

/** AttributeProto.AttributeType. */
const [FLOAT, INT, INTS] = [1, 2, 7]

/** Writes `graph` to `path`, which appears when it is complete. */
export async function writeOnnxModel(path: string, graph: Graph, onBytes: (count: number) => void): Promise<void> {
  const heads = graph.initializers.map(tensorHead)
  const before = [
    ...graph.nodes.map((node, index) => message(1, encodeNode(node, index))),
    bytes(2, Buffer.from('encoder')),
    ...graph.inputs.map((value) => message(11, encodeValue(value))),
    ...graph.outputs.map((value) => message(12, encodeValue(value))),
  ]
  const tensors = graph.initializers.map(({ sizeBytes }, index) => {
    const head = heads[index] ?? Buffer.alloc(0)
    return Buffer.concat([tag(5, 2), varint(head.length + sizeBytes), head])
  })
  const graphBytes =
    [...before, ...tensors].reduce((sum, part) => sum + part.length, 0) +
    graph.initializers.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0)

  const file = createWriteStream(`${path}.part`)
  const write = async (part: Uint8Array) => {
    if (!file.write(part)) await once(file, 'drain')
    onBytes(part.length)
  }
  await write(
    Buffer.concat([number(1, IR_VERSION), opset('', OPSET), opset(MICROSOFT, 1), tag(7, 2), varint(graphBytes)]),
  )
  await write(Buffer.concat(before))
  for (const [index, { name, sizeBytes, read }] of graph.initializers.entries()) {
    await write(tensors[index] ?? Buffer.alloc(0))
    const data = await read()
    if (data.length !== sizeBytes) throw new Error(`${name}: expected ${sizeBytes} bytes, got ${data.length}`)
    await write(data)
  }
  file.end()
  await once(file, 'finish')
  await rename(`${path}.part`, path)
}

/** A TensorProto up to and including the length of its raw_data. */
function tensorHead({ name, type, dims, sizeBytes }: Initializer): Buffer {
  return Buffer.concat([
    ...dims.map((size) => number(1, size)),
    number(2, DATA_TYPES[type]),
    bytes(8, Buffer.from(name)),
    tag(9, 2),
    varint(sizeBytes),
  ])
}

function encodeNode({ op, inputs, outputs, attributes, domain }: GraphNode, index: number): Buffer {
  return Buffer.concat([
    ...inputs.map((name) => bytes(1, Buffer.from(name))),
    ...outputs.map((name) => bytes(2, Buffer.from(name))),
    bytes(3, Buffer.from(`${op}_${index}`)),
    bytes(4, Buffer.from(op)),
    ...Object.entries(attributes).map(([name, value]) => message(5, encodeAttribute(name, value))),
    ...(domain === '' ? [] : [bytes(7, Buffer.from(domain))]),
  ])
}

function encodeAttribute(name: string, value: Attribute): Buffer {
  const head = bytes(1, Buffer.from(name))
  if ('float' in value) {
    const float = Buffer.alloc(4)
    float.writeFloatLE(value.float)
    return Buffer.concat([head, tag(2, 5), float, number(20, FLOAT)])
  }
  if ('int' in value) return Buffer.concat([head, number(3, value.int), number(20, INT)])
  return Buffer.concat([head, ...value.ints.map((int) => number(8, int)), number(20, INTS)])
}

function encodeValue({ name, type, dims }: GraphValue): Buffer {
  const shape = dims.map((size) => message(1, typeof size === 'number' ? number(1, size) : bytes(2, Buffer.from(size))))
  const tensorType = Buffer.concat([number(1, DATA_TYPES[type]), message(2, Buffer.concat(shape))])
  return Buffer.concat([bytes(1, Buffer.from(name)), message(2, message(1, tensorType))])
}

function opset(domain: string, version: number): Buffer {
  return message(8, Buffer.concat([bytes(1, Buffer.from(domain)), number(2, version)]))
}

function message(field: number, content: Buffer): Buffer {
  return bytes(field, content)
}

function bytes(field: number, content: Buffer): Buffer {
  return Buffer.concat([tag(field, 2), varint(content.length), content])
}

function number(field: number, value: number): Buffer {
  return Buffer.concat([tag(field, 0), varint(value)])
}

function tag(field: number, wireType: number): Buffer {
  return varint(field * 8 + wireType)
}

/** Negative numbers take ten bytes, as int64 does. */
function varint(value: number): Buffer {
  let rest = BigInt.asUintN(64, BigInt(value))
  const out: number[] = []
  while (rest > 127n) {
    out.push(Number(rest & 127n) | 128)
    rest >>= 7n
  }
  return Buffer.from([...out, Number(rest)])
}
