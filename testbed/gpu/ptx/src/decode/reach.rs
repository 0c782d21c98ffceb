//! Which functions a kernel can reach, and where its shared variables lie.

use std::collections::HashMap;

use super::unit::Unit;
use crate::parse::tree::{Function, Instruction, Operand, Statement, Variable, VariableSpace};
use crate::{ParseError, ParseErrorKind};

/// The most static shared memory that any card has, in bytes.
const MOST_SHARED: u64 = 256 << 10;

/// What a kernel can reach.
pub struct Reached {
    /// Functions, by their place in the tree; the kernel is first.
    pub functions: Vec<usize>,
    /// The number of each in `functions`.
    pub numbers: HashMap<usize, u32>,
    /// Offsets of shared variables at module scope.
    pub module_shared: HashMap<String, u32>,
    /// Offsets of the shared variables of each function, in the order of their declarations.
    pub function_shared: Vec<Vec<u32>>,
    /// Bytes of static shared memory.
    pub shared_bytes: u32,
    /// Where dynamic shared memory begins.
    pub dynamic_shared: u32,
}

/// Follows every function's name from the kernel on.
pub fn reach<'a>(unit: &Unit<'_, 'a>, kernel: &Function<'a>) -> Result<Reached, ParseError> {
    let start = unit.functions[kernel.name];
    let (mut functions, mut numbers) = (vec![start], HashMap::from([(start, 0)]));
    let mut used: Vec<&str> = Vec::new();
    let mut at = 0;
    while at < functions.len() {
        let function = &unit.tree.functions[functions[at]];
        at += 1;
        let mut add = |place: usize| {
            if let std::collections::hash_map::Entry::Vacant(entry) = numbers.entry(place) {
                entry.insert(u32::try_from(functions.len()).unwrap_or(u32::MAX));
                functions.push(place);
            }
        };
        for instruction in instructions(function) {
            let (mut names, mut direct) = (Vec::new(), false);
            instruction
                .operands
                .iter()
                .for_each(|operand| collect(operand, &mut names));
            for name in &names {
                if let Some(&place) = unit
                    .functions
                    .get(name)
                    .filter(|&&place| !unit.tree.functions[place].is_entry)
                {
                    defined(unit, place, instruction.line)?;
                    direct = true;
                    add(place);
                }
            }
            if instruction.name == "call" && !direct {
                let bodies = unit.tree.functions.iter().enumerate();
                bodies
                    .filter(|(_, f)| !f.is_entry && f.body.is_some())
                    .for_each(|(place, _)| add(place));
            }
            used.extend(names);
        }
    }
    layout(unit, functions, numbers, &used, kernel.line)
}

fn defined(unit: &Unit<'_, '_>, place: usize, line: u32) -> Result<(), ParseError> {
    let function = &unit.tree.functions[place];
    if function.body.is_some() {
        return Ok(());
    }
    let message = format!("function `{}` has no body in this module", function.name);
    Err(ParseError::new(ParseErrorKind::UndefinedSymbol, line, message))
}

fn instructions<'f, 'a>(function: &'f Function<'a>) -> impl Iterator<Item = &'f Instruction<'a>> {
    function
        .body
        .iter()
        .flatten()
        .filter_map(|statement| match statement {
            Statement::Instruction(instruction) => Some(instruction),
            _ => None,
        })
}

fn collect<'a>(operand: &Operand<'a>, names: &mut Vec<&'a str>) {
    match operand {
        Operand::Name(name, None) | Operand::Sum(name, _) | Operand::Address(Some(name), _) => {
            names.push(name);
        }
        Operand::Vector(inner) | Operand::List(inner) => {
            for operand in inner {
                collect(operand, names);
            }
        }
        _ => {}
    }
}

fn layout(
    unit: &Unit<'_, '_>,
    functions: Vec<usize>,
    numbers: HashMap<usize, u32>,
    used: &[&str],
    line: u32,
) -> Result<Reached, ParseError> {
    let mut end = 0_u64;
    let mut place = |variable: &Variable<'_>| -> Option<u32> {
        let size = variable.count? * variable.element.size() as u64;
        end = end.checked_next_multiple_of(variable.align)?;
        let offset = u32::try_from(end).ok()?;
        end = end.checked_add(size).filter(|&end| end <= MOST_SHARED)?;
        Some(offset)
    };
    let too_large = || {
        ParseError::new(
            ParseErrorKind::TooLarge,
            line,
            "static shared memory is larger than on any card",
        )
    };
    let (mut module_shared, mut dynamic) = (HashMap::new(), Vec::new());
    for variable in unit
        .tree
        .variables
        .iter()
        .filter(|v| v.space == VariableSpace::Shared && used.contains(&v.name))
    {
        if variable.count.is_none() || variable.is_extern && variable.count == Some(0) {
            dynamic.push(variable);
        } else {
            module_shared.insert(variable.name.to_owned(), place(variable).ok_or_else(too_large)?);
        }
    }
    let mut function_shared = Vec::new();
    for &at in &functions {
        let body = unit.tree.functions[at].body.iter().flatten();
        let mut offsets = Vec::new();
        for statement in body {
            if let Statement::Variable(variable) = statement
                && variable.space == VariableSpace::Shared
            {
                offsets.push(place(variable).ok_or_else(too_large)?);
            }
        }
        function_shared.push(offsets);
    }
    let shared_bytes = u32::try_from(end).map_err(|_| too_large())?;
    let align = dynamic
        .iter()
        .map(|variable| variable.align)
        .max()
        .unwrap_or(1)
        .max(16);
    let dynamic_shared = u32::try_from(end.next_multiple_of(align)).map_err(|_| too_large())?;
    module_shared.extend(
        dynamic
            .iter()
            .map(|variable| (variable.name.to_owned(), dynamic_shared)),
    );
    Ok(Reached {
        functions,
        numbers,
        module_shared,
        function_shared,
        shared_bytes,
        dynamic_shared,
    })
}
